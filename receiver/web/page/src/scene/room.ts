/** Shows people in the room before the device, with Apple's AR Quick Look. */

import { h } from "../shell/dom.ts";

/** Of a fixed colour that is seen on light and dark: a picture does not know the page's. */
const CUBE =
  "data:image/svg+xml," +
  encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#77838f" stroke-width="1.7" ' +
      'stroke-linejoin="round"><path d="m12 4 7 4v8l-7 4-7-4V8zM5 8l7 4 7-4M12 12v8"/></svg>',
  );

/** A link that opens a USDZ file in the room; null where the browser cannot. Safari wants a picture as its only child. */
export function quickLook(href: string, label: string): HTMLAnchorElement | null {
  const link = h("a", { class: "button compact", rel: "ar", href, title: label });
  if (!link.relList.supports("ar")) return null;
  link.append(h("img", { src: CUBE, alt: label, width: 20, height: 20 }));
  return link;
}
