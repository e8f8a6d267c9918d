/** Where the floor is: under the feet, most of the time. */

const WINDOW_S = 1.5;
const LOW_SHARE = 0.15;
const SETTLE_S = 0.2;

/**
 * The floor under people who move, from the lowest points of their meshes.
 *
 * Those of the last one and a half seconds include jumps, raised feet and errors of the depth; the floor is at their 15th
 * percentile, which neither a jump nor a single deep frame moves. The level that is shown glides to the estimate.
 */
export class FloorLevel {
  #samples: { lowest: number; time: number }[] = [];
  #shown = 0;

  /** Height of the floor, metres. */
  get level(): number {
    return this.#shown;
  }

  get known(): boolean {
    return this.#samples.length > 0;
  }

  forget(): void {
    this.#samples = [];
  }

  /** Takes the lowest point of one person, metres, y up, in a frame that is shown at `time`, seconds. */
  add(lowest: number, time: number): void {
    if (!this.known) this.#shown = lowest;
    this.#samples.push({ lowest, time });
    while (this.#samples[0]!.time < time - WINDOW_S) this.#samples.shift();
  }

  /** Moves the level by `seconds` towards the floor; returns whether it still moves. */
  settle(seconds: number): boolean {
    if (!this.known) return false;
    const sorted = this.#samples.map(({ lowest }) => lowest).sort((one, other) => one - other);
    const rest = sorted[Math.floor(LOW_SHARE * sorted.length)]! - this.#shown;
    if (Math.abs(rest) < 1e-3) return false;
    this.#shown += rest * (1 - Math.exp(-seconds / SETTLE_S));
    return true;
  }
}
