/** How far the camera was tilted: people who stand are upright, whatever the camera says. */

import type { Vector } from "../protocol/messages.ts";

const SAMPLES = 120;
const ENOUGH = 8;
/** What stands less straight, or shows less of a person, says nothing. */
const MOST_BENT = Math.cos((25 * Math.PI) / 180);
const SHORTEST_M = 0.8;
/** Less is a person who leans, or an error of the pose. */
const LEAST = (4 * Math.PI) / 180;
const MOST = (45 * Math.PI) / 180;
/** The ground moves only by so much at a time. */
const STEP = (1.5 * Math.PI) / 180;
/** COCO keypoints. */
const [SHOULDERS, HIPS, ANKLES] = [
  [5, 6],
  [11, 12],
  [15, 16],
] as const;

/** The median lean of everybody who stands, over some seconds; the scene is turned back by it about the camera. */
export class GroundTilt {
  readonly #leans = new Float32Array(SAMPLES);
  #count = 0;
  #angle = 0;

  /** Radians by which the scene is turned about the camera's x axis. */
  get angle(): number {
    return this.#angle;
  }

  forget(): void {
    this.#count = 0;
    this.#angle = 0;
  }

  /** Takes the joints of somebody, metres, camera space; returns whether the angle is another one now. */
  add(joints: readonly Vector[]): boolean {
    const lean = leanOf(joints);
    if (lean === null) return false;
    this.#leans[this.#count++ % SAMPLES] = lean;
    if (this.#count < ENOUGH) return false;
    const sorted = this.#leans.slice(0, Math.min(this.#count, SAMPLES)).sort();
    const median = sorted[Math.floor(sorted.length / 2)]!;
    const wanted = Math.abs(median) < LEAST ? 0 : -Math.min(MOST, Math.max(-MOST, median));
    if (Math.abs(wanted - this.#angle) < STEP) return false;
    this.#angle = wanted;
    return true;
  }
}

/** The angle between the vertical and a person who stands, positive towards the camera; null for somebody else. */
function leanOf(joints: readonly Vector[]): number | null {
  const [shoulders, hips, ankles] = [SHOULDERS, HIPS, ANKLES].map(([left, right]) =>
    [0, 1, 2].map((axis) => ((joints[left]?.[axis] ?? NaN) + (joints[right]?.[axis] ?? NaN)) / 2),
  ) as [number[], number[], number[]];
  const torso = shoulders.map((value, axis) => value - hips[axis]!);
  const legs = hips.map((value, axis) => value - ankles[axis]!);
  const dot = torso.reduce((sum, value, axis) => sum + value * legs[axis]!, 0);
  const length = Math.hypot(...torso) + Math.hypot(...legs);
  const straight = dot / (Math.hypot(...torso) * Math.hypot(...legs)) > MOST_BENT;
  const up = shoulders.map((value, axis) => value - ankles[axis]!);
  // Camera space has y down and z forward. NaN compares as false.
  return straight && length > SHORTEST_M && -up[1]! > 0 ? Math.atan2(-up[2]!, -up[1]!) : null;
}
