/** Which files are pictures, and those in a ZIP. */

/** What browsers do not know the type of. */
const ENDINGS = /\.(jpe?g|png|webp|heic|heif|avif|gif|bmp|tiff?)$/i;
/** Hidden files, and what macOS adds to archives. */
const IGNORED = /(^|\/)(\.|__MACOSX\/)/;
const LARGEST_ZIP = 1e9;

export function isPicture(file: File): boolean {
  return file.type.startsWith("image/") || ENDINGS.test(file.name);
}

export function isZip(file: File): boolean {
  return /zip/.test(file.type) || /\.zip$/i.test(file.name);
}

/**
 * The pictures in a ZIP, in its order.
 *
 * @throws Error with a sentence for the user.
 */
export async function picturesIn(file: File): Promise<File[]> {
  if (file.size > LARGEST_ZIP) throw new Error("This ZIP is larger than 1 GB. Upload its pictures in parts.");
  const { unzipSync } = await import("fflate");
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(new Uint8Array(await file.arrayBuffer()), {
      filter: ({ name }) => ENDINGS.test(name) && !IGNORED.test(name),
    });
  } catch {
    throw new Error("This ZIP is damaged or encrypted. Make it again.");
  }
  return Object.entries(entries).map(
    ([name, content]) => new File([content as Uint8Array<ArrayBuffer>], name.split("/").pop()!),
  );
}
