/** The last minute of a session in seconds, with the one that runs: mean bytes a frame by label. */

export const HISTORY_S = 60;
const RECENT_S = 3;
/** Frames of a source come again after longer pauses, or its clock was set. */
const LONGEST_STEP_S = 1;

/** What came in a second: how many frames, and the sums of their bytes by label. */
interface Second {
  frames: number;
  readonly bytes: number[];
}

export class ByteHistory {
  readonly #labels: readonly string[];
  /** Up to the one that runs. */
  #seconds: Second[] = [];
  #running = -Infinity;

  /** @param labels the rows, from the bottom of the stack to its top; bytes of other labels are not counted. */
  constructor(labels: readonly string[]) {
    this.#labels = labels;
  }

  /** Adds a frame that arrived at `time`, seconds. */
  add(time: number, bytes: Readonly<Record<string, number>>): void {
    const second = Math.floor(time);
    const begun = Math.min(HISTORY_S, second - this.#running);
    this.#running = second;
    for (let k = 0; k < begun; k++) this.#seconds.push({ frames: 0, bytes: this.#labels.map(() => 0) });
    this.#seconds = this.#seconds.slice(-HISTORY_S);
    const running = this.#seconds.at(-1)!;
    running.frames += 1;
    this.#labels.forEach((label, k) => (running.bytes[k]! += bytes[label] ?? 0));
  }

  /** Mean bytes a frame by label in each second of the last minute, from the oldest; 0 without frames. */
  means(): number[][] {
    return this.#seconds.map(({ frames, bytes }) => bytes.map((sum) => sum / Math.max(1, frames)));
  }

  /**
   * Mean bytes of a frame, all labels together, over the last seconds; 0 without frames.
   *
   * Times the frames that the receiver publishes a second this is what the sender sends, however few of them reach us.
   */
  recent(): number {
    const recent = this.#seconds.slice(-RECENT_S);
    const frames = recent.reduce((sum, second) => sum + second.frames, 0);
    const bytes = recent.flatMap((second) => second.bytes).reduce((sum, value) => sum + value, 0);
    return bytes / Math.max(1, frames);
  }
}

/** How many frames there are in a second of the source's own time, by the numbers and times of the newest ones. */
export class SourcePace {
  #newest: (readonly [seq: number, capturedAt: number])[] = [];

  add({ seq, captured_at: at }: { readonly seq: number; readonly captured_at: number }): void {
    const last = this.#newest.at(-1);
    if (last && !(seq > last[0] && at > last[1] && at - last[1] <= LONGEST_STEP_S)) this.#newest = [];
    this.#newest = [...this.#newest.filter(([, earlier]) => at - earlier <= RECENT_S), [seq, at]];
  }

  /** Null before two frames are known. */
  get framesASecond(): number | null {
    const [first, last] = [this.#newest[0], this.#newest.at(-1)];
    return first && last && last[1] > first[1] ? (last[0] - first[0]) / (last[1] - first[1]) : null;
  }
}
