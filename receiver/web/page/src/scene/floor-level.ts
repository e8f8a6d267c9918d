/** Where the floor is: under the feet, most of the time. */

const SAMPLES = 128;
const WINDOW_S = 1.5;
const LOW_SHARE = 0.15;
const SETTLE_S = 0.3;

/**
 * A floor level from the lowest points of people over time.
 *
 * The lowest points of the last one and a half seconds include jumps, raised feet and errors of the depth; the floor is
 * at their 15th percentile, which neither a jump nor a single deep frame moves. A longer window would leave people in the
 * air who walk before a tilted camera: in its space the floor is a slope. The level that is shown glides to the estimate.
 */
export class FloorLevel {
  readonly #lowest = new Float32Array(SAMPLES);
  readonly #times = new Float64Array(SAMPLES);
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

  /** Takes the lowest point of one person, metres, y up, in a frame that is shown at `time`, seconds. */
  add(lowest: number, time: number): void {
    const place = this.#count % SAMPLES;
    this.#lowest[place] = lowest;
    this.#times[place] = time;
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
    const begin = this.#times[(this.#count - 1) % SAMPLES]! - WINDOW_S;
    let recent = 0;
    for (let place = 0; place < Math.min(this.#count, SAMPLES); place++) {
      if (this.#times[place]! >= begin) this.#sorted[recent++] = this.#lowest[place]!;
    }
    const sorted = this.#sorted.subarray(0, recent).sort();
    return sorted[Math.floor(LOW_SHARE * recent)]!;
  }
}
