/** The 17 COCO keypoints over a picture. */

import { svg } from "../shell/dom.ts";
import type { ModelPerson } from "./types.ts";

/** Pairs of keypoints, and whose side they are on: the person's left, right, or the middle. */
const BONES: readonly [from: number, to: number, side: "left" | "right" | "middle"][] = [
  [5, 7, "left"],
  [7, 9, "left"],
  [11, 13, "left"],
  [13, 15, "left"],
  [5, 11, "left"],
  [6, 8, "right"],
  [8, 10, "right"],
  [12, 14, "right"],
  [14, 16, "right"],
  [6, 12, "right"],
  [5, 6, "middle"],
  [11, 12, "middle"],
  [0, 1, "middle"],
  [0, 2, "middle"],
  [1, 3, "middle"],
  [2, 4, "middle"],
];
const VISIBLE = 0.2;

/** A drawing as large as a picture of `width` × `height` pixels, the unit of the keypoints. */
export function keypointDrawing(people: readonly ModelPerson[], width: number, height: number): SVGElement {
  const thickness = Math.max(width, height) / 220;
  const groups = people.map(({ keypoints_2d: points }) => {
    const bones = BONES.filter(([from, to]) => Math.min(points[from]![2], points[to]![2]) >= VISIBLE).map(
      ([from, to, side]) =>
        svg("line", {
          x1: points[from]![0],
          y1: points[from]![1],
          x2: points[to]![0],
          y2: points[to]![1],
          class: `bone ${side}`,
        }),
    );
    const dots = points
      .filter(([, , score]) => score >= VISIBLE)
      .map(([x, y]) => svg("circle", { cx: x, cy: y, r: 1.3 * thickness, class: "joint" }));
    return svg("g", { "stroke-width": thickness }, ...bones, ...dots);
  });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "keypoints", "aria-hidden": "true" }, ...groups);
}
