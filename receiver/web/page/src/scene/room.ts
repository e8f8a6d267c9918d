/** Shows people in the room before the device: through WebXR, or with Apple's AR Quick Look, where the browser can. */

import { h, iconButton } from "../shell/dom.ts";
import type { Stage } from "./stage.ts";

/**
 * A button, hidden until the browser says that it can.
 *
 * @param failed is called with what went wrong.
 */
export function roomButton(stage: Stage, failed: (error: unknown) => void): HTMLButtonElement {
  const button = iconButton("room", "See in your room", () => void enter(stage).catch(failed), { hidden: true });
  navigator.xr?.isSessionSupported("immersive-ar").then(
    (supported) => (button.hidden = !supported),
    () => undefined,
  );
  return button;
}

async function enter(stage: Stage): Promise<void> {
  const session = await navigator.xr!.requestSession("immersive-ar", { requiredFeatures: ["local-floor"] });
  try {
    await stage.showInRoom(session);
  } catch (error) {
    await session.end();
    throw error;
  }
}

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
