/** The 17 COCO keypoints over a picture. */

import { svg } from "../shell/dom.ts";
import type { Keypoint } from "../protocol/messages.ts";
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
/** Parts of a person, the keypoints that show them, and the attributes of what is worn there. */
const PARTS: readonly [part: string, joints: readonly number[], worn: readonly string[]][] = [
  ["head", [0, 1, 2, 3, 4], ["hair", "headwear"]],
  ["upper body", [5, 6, 11, 12], ["layer", "top_fit"]],
  ["arms", [7, 8, 9, 10], ["sleeve"]],
  ["legs", [13, 14], ["bottom", "bottom_fit"]],
  ["feet", [15, 16], ["shoes"]],
];

/** The parts of a person that a picture of some size, pixels, does not show, with what is worn there. */
export function unseenParts(
  points: readonly Keypoint[],
  { width = Infinity, height = Infinity }: { width?: number; height?: number } = {},
): { part: string; worn: readonly string[] }[] {
  const seen = ([x, y, score]: Keypoint) => score >= VISIBLE && x >= 0 && x < width && y >= 0 && y < height;
  return PARTS.filter(([, joints]) => !joints.some((joint) => seen(points[joint]!))).map(([part, , worn]) => {
    return { part, worn };
  });
}

/** A drawing as large as a picture of `width` × `height` pixels, the unit of the keypoints. */
export function keypointDrawing(people: readonly ModelPerson[], width: number, height: number): SVGElement {
  const thickness = Math.max(width, height) / 220;
  const groups = people.map(({ keypoints_2d: points, number }) => {
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
    // Of the face, which comes first, or of what is seen.
    const top = points.find(([, , score]) => score >= VISIBLE);
    const named = people.length > 1 && top ? [numbered(number + 1, top[0], top[1] - 8 * thickness, thickness)] : [];
    return svg("g", { "stroke-width": thickness }, ...bones, ...dots, ...named);
  });
  // The inner one ends at the edges of the picture, as what it shows does.
  const picture = svg("svg", { width, height }, ...groups);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "keypoints", "aria-hidden": "true" }, picture);
}

/** The number of a person in a disc. */
function numbered(number: number, x: number, y: number, thickness: number): SVGElement {
  const disc = svg("circle", { cx: x, cy: Math.max(y, 4 * thickness), r: 4 * thickness, class: "disc" });
  const place = { x, y: Math.max(y, 4 * thickness), "font-size": 6 * thickness, class: "number" };
  return svg("g", {}, disc, svg("text", place, document.createTextNode(String(number))));
}
