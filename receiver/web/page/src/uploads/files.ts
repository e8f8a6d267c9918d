/** Which files are pictures and which clips, and the pictures in a ZIP. */

import { h } from "../shell/dom.ts";

/** What browsers do not know the type of. */
const PICTURES = /\.(jpe?g|png|webp|heic|heif|avif|gif|bmp|tiff?)$/i;
const CLIPS = /\.(mp4|m4v|mov|webm|mkv)$/i;
/** Hidden files, and what macOS adds to archives. */
const IGNORED = /(^|\/)(\.|__MACOSX\/)/;
const LARGEST_ZIP = 1e9;

export type Kind = "picture" | "clip" | "zip";

/** What file choosers offer. */
export const ACCEPT: Record<Kind, string> = {
  picture: "image/*,.heic,.heif,.avif",
  clip: "video/mp4,video/quicktime,video/webm,video/x-matroska,.mkv",
  zip: ".zip",
};

/** A chooser of files, which a button opens. */
export function fileInput(attributes: object, chosen: (files: Iterable<File>) => void): HTMLInputElement {
  const input = h("input", { type: "file", class: "visually-hidden", tabindex: -1, ...attributes });
  input.addEventListener("change", () => {
    chosen(input.files ?? []);
    input.value = "";
  });
  return input;
}

/** What a file is; null if it is something else. */
export function kindOf(file: File): Kind | null {
  if (/zip/.test(file.type) || /\.zip$/i.test(file.name)) return "zip";
  if (file.type.startsWith("image/") || PICTURES.test(file.name)) return "picture";
  return file.type.startsWith("video/") || CLIPS.test(file.name) ? "clip" : null;
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
      filter: ({ name }) => PICTURES.test(name) && !IGNORED.test(name),
    });
  } catch {
    throw new Error("This ZIP is damaged or encrypted. Make it again.");
  }
  return Object.entries(entries).map(
    ([name, content]) => new File([content as Uint8Array<ArrayBuffer>], name.split("/").pop()!),
  );
}
