/** Where the floor is: under the feet, most of the time. */

const SAMPLES = 180;
const LOW_SHARE = 0.15;
const SETTLE_S = 0.4;

/**
 * A floor level from the lowest points of people over time.
 *
 * The lowest points of the last frames include jumps, raised feet and errors of the depth; the floor is at their 15th
 * percentile, which neither a jump nor a single deep frame moves. The level that is shown glides to it.
 */
export class FloorLevel {
  readonly #lowest = new Float32Array(SAMPLES);
  readonly #sorted = new Float32Array(SAMPLES);
  #count = 0;
  #shown = 0;

  /** Height of the floor, metres. */
  get level(): number {
    return this.#shown;
  }

  get known(): boolean {
    return this.#count > 0;
  }

  forget(): void {
    this.#count = 0;
  }

  /** Takes the lowest point of one person in one frame, metres, y up. */
  add(lowest: number): void {
    this.#lowest[this.#count % SAMPLES] = lowest;
    this.#count += 1;
    if (this.#count === 1) this.#shown = lowest;
  }

  /** Moves the level by `seconds`; returns whether it still moves. */
  settle(seconds: number): boolean {
    if (!this.known) return false;
    const rest = this.#target() - this.#shown;
    if (Math.abs(rest) < 1e-3) return false;
    this.#shown += rest * (1 - Math.exp(-seconds / SETTLE_S));
    return true;
  }

  #target(): number {
    const count = Math.min(this.#count, SAMPLES);
    const sorted = this.#sorted.subarray(0, count);
    sorted.set(this.#lowest.subarray(0, count));
    sorted.sort();
    return sorted[Math.floor(LOW_SHARE * count)]!;
  }
}
