/** When to try again. */

const FIRST_S = 0.5;
const LONGEST_S = 15;

/** Doubles the delay with every failure; a quarter of it is random, so that many pages do not return at once. */
export class Backoff {
  #failures = 0;
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Seconds to wait after one more failure. */
  next(): number {
    const delay = Math.min(LONGEST_S, FIRST_S * 2 ** this.#failures);
    this.#failures += 1;
    return delay * (0.75 + 0.25 * this.#random());
  }

  reset(): void {
    this.#failures = 0;
  }
}
