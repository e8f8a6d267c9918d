/** The last minute of a session in seconds: mean bytes a frame by label. */

export const HISTORY_S = 60;
const RECENT_S = 3;

/** Bins of one second in a ring that is filled without allocation. */
export class ByteHistory {
  readonly labels: readonly string[];
  readonly #bytes: Float64Array;
  readonly #frames = new Uint32Array(HISTORY_S);
  readonly #seconds = new Float64Array(HISTORY_S).fill(NaN);

  /** @param labels the rows, from the bottom of the stack to its top; bytes of other labels are not counted. */
  constructor(labels: readonly string[]) {
    this.labels = labels;
    this.#bytes = new Float64Array(HISTORY_S * labels.length);
  }

  /** Adds a frame that arrived at `time`, seconds. */
  add(time: number, bytes: Readonly<Record<string, number>>): void {
    const second = Math.floor(time);
    const bin = second % HISTORY_S;
    const row = bin * this.labels.length;
    if (this.#seconds[bin] !== second) {
      this.#seconds[bin] = second;
      this.#frames[bin] = 0;
      this.#bytes.fill(0, row, row + this.labels.length);
    }
    this.#frames[bin]! += 1;
    for (let k = 0; k < this.labels.length; k++) this.#bytes[row + k]! += bytes[this.labels[k]!] ?? 0;
  }

  /** Mean bytes a frame of label `label` (an index) in the second `age` seconds before `time`; 0 without frames. */
  mean(time: number, age: number, label: number): number {
    const bin = this.#bin(time, age);
    if (bin < 0) return 0;
    return this.#bytes[bin * this.labels.length + label]! / this.#frames[bin]!;
  }

  /**
   * Mean bytes of a frame, all labels together, over the last full seconds before `time`; 0 without frames.
   *
   * Times the frames that the receiver publishes a second this is what the sender sends, however few of them reach us.
   */
  recent(time: number): number {
    let bytes = 0;
    let frames = 0;
    for (let age = 1; age <= RECENT_S; age++) {
      const bin = this.#bin(time, age);
      if (bin < 0) continue;
      frames += this.#frames[bin]!;
      for (let k = 0; k < this.labels.length; k++) bytes += this.#bytes[bin * this.labels.length + k]!;
    }
    return frames === 0 ? 0 : bytes / frames;
  }

  #bin(time: number, age: number): number {
    const second = Math.floor(time) - age;
    const bin = ((second % HISTORY_S) + HISTORY_S) % HISTORY_S;
    return this.#seconds[bin] === second ? bin : -1;
  }
}
