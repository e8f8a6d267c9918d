/** What a camera has shown of a person lately, and where the person's joints are. */

import type { Keypoint, Vector } from "../protocol/messages.ts";

/** Of what was seen, and of what is seen for so long that it is no mistake: seconds. */
const REMEMBERED_S = 10;
const BELIEVED_S = 0.3;
/** How fast less of the trunk is left out. */
const SETTLE_S = 0.5;
/** Shares of the trunk, from the hips: less is not left out, and no more. */
const LEAST_CUT = 0.15;
const MOST_CUT = 0.6;
const LIMBS = ["head", "left_arm", "right_arm", "left_leg", "right_leg"] as const;
/** COCO joints. */
export const SHOULDERS = [5, 6];
export const HIPS = [11, 12];

/** Of a person in a frame, as in frames.jsonl. */
export interface Sight {
  keypoints_2d: readonly Keypoint[];
  joints_3d: readonly Vector[];
  seen?: Readonly<Record<string, boolean>> | null;
}

export class Seen {
  /** The COCO joints, x, y, z interleaved, in the scene before it is turned. */
  readonly #joints = new Float32Array(51);
  /** Of the camera, metres to the right. */
  place = 0;
  #time = NaN;
  /** By limb: since when it is seen, and until when it is remembered. */
  readonly #since = LIMBS.map(() => 0);
  readonly #until = LIMBS.map(() => 0);
  #cut = 0;
  #cutAt = 0;

  /**
   * Takes the next frame.
   *
   * @param height of the picture, pixels.
   * @param time of capture, seconds; a leap forgets what was seen.
   * @param place of the camera, metres to the right.
   */
  take({ keypoints_2d: points, joints_3d: joints, seen }: Sight, height = Infinity, time = 0, place = 0): void {
    this.place = place;
    joints.forEach(([x, y, z], joint) => this.#joints.set([x + place, -y, -z], 3 * joint));
    const passed = time - this.#time;
    this.#time = time;
    const anew = !(passed >= 0 && passed < REMEMBERED_S);
    LIMBS.forEach((name, limb) => {
      if (anew) [this.#since[limb], this.#until[limb]] = [-Infinity, -Infinity];
      if (seen?.[name] === false) this.#since[limb] = time;
      else if (time - this.#since[limb]! >= BELIEVED_S) this.#until[limb] = time + REMEMBERED_S;
    });
    const [shoulders, hips] = [SHOULDERS, HIPS].map(([one, other]) => (points[one!]![1] + points[other!]![1]) / 2);
    const below = hips! > shoulders! ? Math.min(MOST_CUT, Math.max(0, (hips! - height) / (hips! - shoulders!))) : 0;
    if (below > this.#cut && !anew && time - this.#cutAt < REMEMBERED_S) return;
    this.#cut += (anew || below > this.#cut ? 1 : 1 - Math.exp(-passed / SETTLE_S)) * (below - this.#cut);
    this.#cutAt = time;
  }

  /** The share of the trunk, from the hips, that was below the picture. */
  get cut(): number {
    return this.#cut < LEAST_CUT ? 0 : this.#cut;
  }

  /** The middle of the trunk's end: of the cut, or between the hips. */
  get end(): Vector {
    const [[x, y, z], shoulders] = [this.middle(HIPS), this.middle(SHOULDERS)];
    const { cut } = this;
    return [x + cut * (shoulders[0] - x), y + cut * (shoulders[1] - y), z + cut * (shoulders[2] - z)];
  }

  /** Whether neither leg was seen: such a person is shown without what was not. */
  get isBust(): boolean {
    return this.cut > 0 || !(this.#knows(3) || this.#knows(4));
  }

  /** The arms that were not seen, by their places in `seen`. */
  get unseenArms(): readonly number[] {
    return [1, 2].filter((limb) => !this.#knows(limb));
  }

  /** The middle of some joints, each of which may count several times. */
  middle(joints: readonly number[]): Vector {
    const [x, y, z] = [0, 1, 2].map((axis) =>
      joints.reduce((sum, joint) => sum + this.#joints[3 * joint + axis]! / joints.length, 0),
    );
    return [x!, y!, z!];
  }

  #knows(limb: number): boolean {
    return this.#time < this.#until[limb]!;
  }
}
