/** Plays a recorded session. */

import type { App } from "../shell/app.ts";
import { h, iconButton, setText } from "../shell/dom.ts";
import { recall } from "../shell/preferences.ts";
import type { StoredFrame } from "../live/recording.ts";
import { Timeline, type TimelineListener } from "../live/timeline.ts";
import { clockMinutes, facts, milliseconds } from "../live/units.ts";
import type { TakeOut } from "../scene/people-list.ts";
import { Viewport } from "../scene/viewport.ts";
import { showDownloads } from "./downloads.ts";
import { atOwnPace, sessionFacts, sessionName, sessionPace, sessionPath, type Session } from "./types.ts";

const LEAVES: Readonly<Record<string, number>> = { ArrowLeft: -1, ArrowRight: 1 };

export class SessionPlayer implements TimelineListener {
  readonly element: HTMLElement;
  readonly #viewport: Viewport;
  readonly #timeline: Timeline;
  readonly #closed: () => void;
  readonly #album: boolean;
  readonly #facts = h("p", { class: "soft small" });

  /** @param closed is called to go back. */
  constructor(app: App, session: Session, closed: () => void) {
    this.#closed = closed;
    this.#album = session.album;
    this.#viewport = new Viewport({ app, name: "The session", live: true, takeOut: this.#takeOut(app, session) });
    this.#timeline = new Timeline(app, this, false);
    this.#timeline.kind = recall("mesh") === "surface" ? "surface" : "body";
    this.#viewport.bottom.prepend(this.#timeline.element);
    const averages = [
      session.connected ? "Live" : `Session ended ${clockMinutes(session.ended_at)}`,
      session.age_ms === null || !atOwnPace(session) ? "" : `age ${milliseconds(session.age_ms)}`,
    ];
    const head = h(
      "header",
      { class: "model-head row" },
      iconButton("back", "Back to all sessions (Esc)", closed),
      h(
        "div",
        { class: "grow" },
        h("h1", {}, sessionName(session)),
        this.#facts,
        h("p", { class: "soft small" }, [facts(...averages), sessionPace(session)].join(" · ")),
      ),
      iconButton("download", "Download", () => showDownloads(app, session)),
    );
    setText(this.#facts, sessionFacts(session));
    this.element = h("div", { class: "model" }, head, this.#viewport.element);
    this.#timeline.play(session);
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === "Escape") this.#closed();
    else if (event.key === " ") this.#timeline.togglePlaying();
    else if (this.#album && event.key in LEAVES && !event.defaultPrevented) this.#timeline.leaf(LEAVES[event.key]!);
    else return this.#viewport.toolbar.key(event);
    return true;
  }

  /** What takes people out of the session, who may change it. */
  #takeOut(app: App, { number, hidden, may_change: may }: Session): TakeOut | undefined {
    const change = async (out: readonly number[]) => {
      const changed = await app.api.post<Session>(sessionPath(number), { hidden: out }, "PATCH");
      setText(this.#facts, sessionFacts(changed));
      this.#timeline.reload();
      return changed.hidden;
    };
    return may ? { hidden, change, failed: (error) => app.fail(error) } : undefined;
  }

  recorded(frame: StoredFrame): void {
    this.#viewport.showStored(frame);
  }

  live(): void {
    // There is nothing live here.
  }

  /** Frees the graphics card. */
  close(): void {
    this.#timeline.stop();
    this.#viewport.close();
    this.element.remove();
  }
}
