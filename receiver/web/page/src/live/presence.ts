/** Who is in the newest frame of each session. */

import type { FrameRecord } from "../protocol/messages.ts";
import type { Listed } from "../scene/people-list.ts";

/** A session, or what is read from the disk. */
type Source = number | string;

export class Presence {
  readonly #present = new Map<Source, readonly number[]>();
  /** Whether anybody was ever seen of what is watched. */
  #seen = false;
  #frames = 0;

  note(source: Source, record: FrameRecord): void {
    this.#present.set(
      source,
      record.people.map(({ id }) => id).sort((one, other) => one - other),
    );
    this.#frames += 1;
    this.#seen ||= record.people.length > 0;
  }

  remove(source: Source): void {
    this.#present.delete(source);
  }

  forget(): void {
    this.#present.clear();
    [this.#seen, this.#frames] = [false, 0];
  }

  /** Everybody by name; of one source only, if it is given. */
  listed(only: Source | null): Listed[] {
    const several = this.#present.size > 1 && only === null;
    return [...this.#present]
      .filter(([source]) => only === null || source === only)
      .flatMap(([source, ids]) =>
        ids.map((id) => ({
          key: `${source}:${id}`,
          name: `Person ${id + 1}${several ? ` of session ${source}` : ""}`,
        })),
      );
  }

  /** Whether frames come in which nobody is: nobody yet, or nobody any more; null otherwise. */
  get nobody(): "unseen" | "left" | null {
    const somebody = [...this.#present.values()].some((ids) => ids.length > 0);
    return this.#frames === 0 || somebody ? null : this.#seen ? "left" : "unseen";
  }
}
