/** What lies over a scene. */

import type { Insets } from "./framing.ts";

const GAP_PX = 8;

/**
 * What elements at the top, at the bottom and at the left of a scene cover; those that are hidden cover nothing.
 *
 * @param left lies below what is at the top; in a narrow scene it counts as that.
 */
export function covered(
  scene: HTMLElement,
  top: readonly HTMLElement[],
  bottom: readonly HTMLElement[],
  left: readonly HTMLElement[] = [],
): Insets {
  const around = scene.getBoundingClientRect();
  const narrow = around.width < 600;
  const shown = (elements: readonly HTMLElement[]) =>
    elements.map((element) => element.getBoundingClientRect()).filter(({ width, height }) => width > 0 && height > 0);
  const above = [...shown(top), ...(narrow ? shown(left) : [])].map((rect) => rect.bottom - around.top + GAP_PX);
  const below = shown(bottom).map((rect) => around.bottom - rect.top + GAP_PX);
  const beside = narrow ? [] : shown(left).map((rect) => rect.right - around.left + GAP_PX);
  return { top: Math.max(0, ...above), bottom: Math.max(0, ...below), left: Math.max(0, ...beside), right: 0 };
}
