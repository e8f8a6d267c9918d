/** Closes a body where what no camera has seen is left out: what is beyond a cut is drawn together into its flat end. */

/** Beyond a cut, metres, so much is its rim, and everything farther away is in its middle. */
const RIM_M = 0.03;
const MIDDLE_M = 0.06;
/** Of the arms, by their places in `seen`, the COCO joints that they go from and towards. */
const ARMS: readonly (readonly [limb: number, from: number, to: number])[] = [
  [1, 5, 7],
  [2, 6, 8],
];
/** Where they are cut, as a share of the upper arm, and how thick they are at most. */
const STUMP = 0.3;
const THICK_M = 0.14;
/** Legs come behind arms, the trunk behind them. */
const [FIRST_LEG, TRUNK] = [3, 5] as const;

type Point = readonly [x: number, y: number, z: number];

/**
 * Leaves out legs, a part of the trunk, and arms.
 *
 * @param positions x, y, z interleaved; they are changed.
 * @param limbs of each vertex the place of its limb in `seen`, a higher number for the trunk.
 * @param joints COCO joints, x, y, z interleaved.
 * @param arms those that are left out.
 * @param cut the share of the trunk, from the hips, that is left out.
 */
export function cutOff(
  positions: Float32Array,
  limbs: Uint8Array,
  joints: Float32Array,
  arms: readonly number[],
  cut: number,
): void {
  const joint = (k: number) => [joints[3 * k]!, joints[3 * k + 1]!, joints[3 * k + 2]!] as const;
  const [shoulders, hips] = [between(joint(5), joint(6), 0.5), between(joint(11), joint(12), 0.5)];
  const middle = between(hips, shoulders, cut);
  flatten(positions, limbs, FIRST_LEG, 255, middle, between(shoulders, hips, 2), Infinity);
  for (const [limb, from, to] of ARMS) {
    if (!arms.includes(limb)) continue;
    flatten(positions, limbs, limb, limb, between(joint(from), joint(to), STUMP), joint(to), THICK_M);
  }
}

function between(one: Point, other: Point, share: number): Point {
  const [x, y, z] = [0, 1, 2].map((axis) => one[axis]! + share * (other[axis]! - one[axis]!));
  return [x!, y!, z!];
}

/**
 * Puts vertices of some limbs into a plane if they are beyond it; of legs, all.
 *
 * @param first, last of the limbs.
 * @param middle of the cut, in the plane.
 * @param end to which the plane faces.
 * @param thick what is farther away from the axis than this, metres, is beyond the plane in any case.
 */
function flatten(
  positions: Float32Array,
  limbs: Uint8Array,
  first: number,
  last: number,
  [px, py, pz]: Point,
  [ex, ey, ez]: Point,
  thick: number,
): void {
  const length = Math.hypot(ex - px, ey - py, ez - pz);
  const nx = (ex - px) / length;
  const ny = (ey - py) / length;
  const nz = (ez - pz) / length;
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
