/** Which session is watched. */

import { h } from "../shell/dom.ts";
import type { SessionInfo } from "../protocol/messages.ts";

const ALL = "all";

export class SessionPicker {
  readonly element = h("select", { class: "picker", "aria-label": "Session", hidden: true });
  readonly #changed: () => void;
  #sessions: readonly SessionInfo[] = [];
  /** What the user chose; undefined while nothing was chosen: then the newest connected session is watched. */
  #choice: number | null | undefined;
  /** What is seen while nothing is live: what was watched last, or the newest that had ended before. */
  #kept: number | null = null;
  #released = false;

  constructor(changed: () => void) {
    this.#changed = changed;
    this.element.addEventListener("change", () => {
      this.#choice = this.element.value === ALL ? null : Number(this.element.value);
      changed();
    });
  }

  get sessions(): readonly SessionInfo[] {
    return this.#sessions;
  }

  /** The session that is watched; null for all that are live, also where there is none. */
  get watched(): number | null {
    if (this.#choice === null) return null;
    if (this.#sessions.some(({ number }) => number === this.#choice)) return this.#choice!;
    return this.#newest?.number ?? this.#kept;
  }

  /** Whether what is watched is live. */
  get isLive(): boolean {
    return this.#sessions.some(({ number, connected }) => connected && this.shows(number));
  }

  /** Lets go of a session that has ended: a camera is about to begin. */
  release(): void {
    if (this.isLive) return;
    [this.#choice, this.#kept, this.#released] = [undefined, null, true];
    this.sessions = this.#sessions;
    this.#changed();
  }

  /** The session whose figures are shown: the one that is watched, or the newest of all. */
  get measured(): number | null {
    return this.watched ?? this.#newest?.number ?? null;
  }

  /** The name of the measured session where there are others beside it; else nothing needs to be said. */
  get subject(): string {
    return this.watched === null && this.#newest ? title(this.#newest) : "";
  }

  get #newest(): SessionInfo | undefined {
    return this.#sessions.findLast(({ connected }) => connected);
  }

  /** Whether a frame of this session is to be shown: of all, those that are live. */
  shows(session: number): boolean {
    const { watched } = this;
    if (watched !== null) return watched === session;
    return this.#sessions.some(({ number, connected }) => connected && number === session);
  }

  /** The place of a session in the row, from 0, when all are shown. */
  place(session: number): number {
    if (this.watched !== null) return 0;
    const connected = this.#sessions.filter((one) => one.connected);
    const place = connected.findIndex(({ number }) => number === session);
    return Math.max(0, place);
  }

  set sessions(sessions: readonly SessionInfo[]) {
    const before = this.watched;
    this.#sessions = sessions;
    if (this.#newest) this.#released = false;
    const kept = sessions.find(({ number }) => number === before) ?? sessions.at(-1);
    this.#kept = this.#released ? null : (kept?.number ?? null);
    // Those that have ended are on the page Sessions.
    const listed = sessions.filter(({ number, connected }) => connected || number === this.watched);
    const options = listed.map((session) => h("option", { value: session.number }, title(session)));
    if (listed.length > 1) options.unshift(h("option", { value: ALL }, "All live sessions"));
    this.element.replaceChildren(...options);
    this.element.value = String(this.watched ?? ALL);
    this.element.hidden = listed.length === 0;
    if (this.watched !== before) this.#changed();
  }
}

function title({ number, source, sender, connected }: SessionInfo): string {
  const name = [source, sender].filter(Boolean).join(" · ") || `Session ${number}`;
  return connected ? name : `Ended: ${name}`;
}
