/** Where the floor is: under the feet, most of the time. */

const SAMPLES = 128;
const WINDOW_S = 1.5;
const LOW_SHARE = 0.15;
const SETTLE_S = 0.2;
/** Weight of a sample against the next one's: the slope is that of the last ten seconds or so. */
const FADING = 0.995;
/** Square of the distance, metres, that people must walk before a slope is believed. */
const DOUBT = 0.02;
const STEEPEST = 0.6;

/**
 * The floor under people who move, from the lowest points of their meshes.
 *
 * Before a tilted camera the floor is a slope in camera space: the slope is a regression of the lowest points over their
 * depth, drawn towards 0 while nobody walks. What is left of the lowest points of the last one and a half seconds includes
 * jumps, raised feet and errors of the depth; the floor is at its 15th percentile, which neither a jump nor a single deep
 * frame moves. The level that is shown glides to the estimate.
 */
export class FloorLevel {
  readonly #lowest = new Float32Array(SAMPLES);
  readonly #depths = new Float32Array(SAMPLES);
  readonly #times = new Float64Array(SAMPLES);
  readonly #sorted = new Float32Array(SAMPLES);
  /** Faded sums of 1, depth, lowest point, depth², depth · lowest point. */
  readonly #sums = new Float64Array(5);
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
    this.#sums.fill(0);
  }

  /** Takes the lowest point of one person, metres, y up, at a depth z in a frame that is shown at `time`, seconds. */
  add(lowest: number, depth: number, time: number): void {
    const place = this.#count % SAMPLES;
    this.#lowest[place] = lowest;
    this.#depths[place] = depth;
    this.#times[place] = time;
    this.#count += 1;
    if (this.#count === 1) this.#shown = lowest;
    const sums = this.#sums;
    sums[0] = FADING * sums[0]! + 1;
    sums[1] = FADING * sums[1]! + depth;
    sums[2] = FADING * sums[2]! + lowest;
    sums[3] = FADING * sums[3]! + depth * depth;
    sums[4] = FADING * sums[4]! + depth * lowest;
  }

  /** Moves the level by `seconds` towards the floor at `depth`; returns whether it still moves. */
  settle(seconds: number, depth: number): boolean {
    if (!this.known) return false;
    const rest = this.#target(depth) - this.#shown;
    if (Math.abs(rest) < 1e-3) return false;
    this.#shown += rest * (1 - Math.exp(-seconds / SETTLE_S));
    return true;
  }

  #target(depth: number): number {
    const slope = this.#slope();
    const begin = this.#times[(this.#count - 1) % SAMPLES]! - WINDOW_S;
    let recent = 0;
    for (let place = 0; place < Math.min(this.#count, SAMPLES); place++) {
      if (this.#times[place]! < begin) continue;
      this.#sorted[recent++] = this.#lowest[place]! - slope * this.#depths[place]!;
    }
    const sorted = this.#sorted.subarray(0, recent).sort();
    return sorted[Math.floor(LOW_SHARE * recent)]! + slope * depth;
  }

  #slope(): number {
    const [weight, depth, lowest, square, product] = this.#sums as unknown as [number, number, number, number, number];
    const variance = square / weight - (depth / weight) ** 2;
    const slope = (product / weight - (depth * lowest) / weight ** 2) / (variance + DOUBT);
    return Math.min(STEEPEST, Math.max(-STEEPEST, slope));
  }
}
