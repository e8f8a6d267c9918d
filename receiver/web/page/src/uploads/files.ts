/** Which files are pictures and which clips. */

import { h } from "../shell/dom.ts";

/** What browsers do not know the type of. */
const PICTURES = /\.(jpe?g|png|webp|heic|heif|avif|gif|bmp|tiff?)$/i;
const CLIPS = /\.(mp4|m4v|mov|webm|mkv)$/i;

export type Kind = "picture" | "clip";

/** What file choosers offer. */
export const ACCEPT: Record<Kind, string> = {
  picture: "image/*,.heic,.heif,.avif",
  clip: "video/mp4,video/quicktime,video/webm,video/x-matroska,.mkv,image/gif,image/apng,image/webp,image/avif",
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
  if (file.type.startsWith("image/") || PICTURES.test(file.name)) return "picture";
  return file.type.startsWith("video/") || CLIPS.test(file.name) ? "clip" : null;
}
