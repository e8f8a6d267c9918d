/** Closes a body where what no camera has seen is left out: what is beyond a cut is drawn together into its flat end. */

import type { Vector } from "../protocol/messages.ts";
import { HIPS, SHOULDERS, type Seen } from "./seen.ts";

/** Beyond a cut, metres, so much is its rim, and everything farther away is in its middle. */
const RIM_M = 0.03;
const MIDDLE_M = 0.06;
/** Arms are cut at a third of the upper arm, and at most so thick, metres. */
const THICK_M = 0.14;
/** Of arms, by their places in `seen`, the COCO joints that they go from and towards; legs come behind arms. */
const ARMS: Readonly<Record<number, readonly [number, number]>> = { 1: [5, 7], 2: [6, 8] };
const [FIRST_LEG, TRUNK, LAST] = [3, 5, 255] as const;

/**
 * Leaves out legs, and of trunk and arms what was not seen.
 *
 * @param positions x, y, z interleaved; they are changed.
 * @param limbs of each vertex the place of its limb in `seen`, a higher number for the trunk.
 */
export function cutOff(positions: Float32Array, limbs: Uint8Array, seen: Seen): void {
  const trunk = [seen.middle(SHOULDERS), seen.middle(HIPS)] as const;
  flatten(positions, limbs, FIRST_LEG, LAST, seen.end, trunk, Infinity);
  for (const arm of seen.unseenArms) {
    const [from, to] = ARMS[arm]!;
    const axis = [seen.middle([from]), seen.middle([to])] as const;
    flatten(positions, limbs, arm, arm, seen.middle([from, from, to]), axis, THICK_M);
  }
}

/**
 * Puts vertices of some limbs into a plane if they are beyond it; of legs, all.
 *
 * @param first, last of the limbs.
 * @param middle of the cut, in the plane.
 * @param axis from what is left to what is beyond the plane.
 * @param thick what is farther away from the axis than this, metres, is beyond the plane in any case.
 */
function flatten(
  positions: Float32Array,
  limbs: Uint8Array,
  first: number,
  last: number,
  [px, py, pz]: Vector,
  [from, to]: readonly [Vector, Vector],
  thick: number,
): void {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);
  const nx = (to[0] - from[0]) / length;
  const ny = (to[1] - from[1]) / length;
  const nz = (to[2] - from[2]) / length;
  for (let vertex = 0; vertex < limbs.length; vertex++) {
    const limb = limbs[vertex]!;
    if (limb < first || limb > last) continue;
    const k = 3 * vertex;
    const x = positions[k]! - px;
    const y = positions[k + 1]! - py;
    const z = positions[k + 2]! - pz;
    const beyond = x * nx + y * ny + z * nz;
    const rx = x - beyond * nx;
    const ry = y - beyond * ny;
    const rz = z - beyond * nz;
    const all = (limb >= FIRST_LEG && limb < TRUNK) || rx * rx + ry * ry + rz * rz > thick * thick;
    if (beyond <= 0 && !all) continue;
    const share = all ? 0 : Math.min(1, Math.max(0, (MIDDLE_M - beyond) / (MIDDLE_M - RIM_M)));
    positions[k] = px + share * rx;
    positions[k + 1] = py + share * ry;
    positions[k + 2] = pz + share * rz;
  }
}
