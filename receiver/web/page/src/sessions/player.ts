/** Plays a recorded session. */

import type { App } from "../shell/app.ts";
import { h, iconButton } from "../shell/dom.ts";
import { recall, reducedMotion } from "../shell/preferences.ts";
import type { StoredFrame } from "../live/recording.ts";
import { Timeline, type TimelineListener } from "../live/timeline.ts";
import { bitrate, clockMinutes, digits, facts, fileSize, milliseconds } from "../live/units.ts";
import { Stage } from "../scene/stage.ts";
import { covered } from "../scene/covered.ts";
import { PeopleList } from "../scene/people-list.ts";
import { paint, steerByKeys, Toolbar } from "../scene/toolbar.ts";
import { showDownloads } from "./downloads.ts";
import { sessionFacts, sessionName, sessionPath, type Session } from "./types.ts";

export class SessionPlayer implements TimelineListener {
  readonly element: HTMLElement;
  readonly #stage: Stage;
  readonly #toolbar: Toolbar;
  readonly #timeline: Timeline;
  readonly #scene = h("div", { class: "viewport" });
  readonly #people: PeopleList;
  readonly #closed: () => void;

  /** @param closed is called to go back. */
  constructor(app: App, session: Session, closed: () => void) {
    this.#closed = closed;
    const canvas = h("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": "The session in 3D. Arrow keys turn, Shift and arrow keys pan, plus and minus zoom.",
    });
    const bottom = h("div", { class: "viewport-bottom" });
    const top = h("div", { class: "viewport-top" });
    this.#stage = new Stage({
      canvas,
      live: true,
      reducedMotion: reducedMotion(),
      covered: () => covered(this.#scene, [...top.children] as HTMLElement[], [bottom]),
    });
    this.#toolbar = new Toolbar(this.#stage, true);
    this.#people = new PeopleList(this.#stage, () => this.#toolbar.refresh());
    top.append(this.#people.element);
    this.#timeline = new Timeline(app, this, false);
    this.#timeline.kind = recall("mesh") === "surface" ? "surface" : "body";
    paint(this.#stage, app);
    steerByKeys(canvas, this.#stage, () => this.#toolbar.refresh());
    bottom.append(this.#timeline.element, this.#toolbar.element);
    this.#scene.append(canvas, top, bottom);
    new ResizeObserver(() => this.#stage.layOut()).observe(bottom);
    const averages = [
      session.connected ? "Live" : `Session ended ${clockMinutes(session.ended_at)}`,
      session.fps === null ? "" : `${digits(session.fps)} frames a second`,
      `${fileSize(Math.round(session.label_bytes))} of labels a frame`,
      session.link_bps === null ? "" : `${bitrate(session.link_bps)} on the link`,
      session.age_ms === null ? "" : `age ${milliseconds(session.age_ms)}`,
    ];
    this.element = h(
      "div",
      { class: "model" },
      h(
        "header",
        { class: "model-head" },
        iconButton("back", "Back to all sessions", closed),
        h(
          "div",
          {},
          h("h1", {}, sessionName(session)),
          h("p", { class: "soft small" }, sessionFacts(session)),
          h("p", { class: "soft small" }, facts(...averages)),
        ),
        iconButton("download", "Download", () => showDownloads(app, session)),
      ),
      this.#scene,
    );
    this.#timeline.play(sessionPath(session.number), session.last_seq);
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === "Escape") this.#closed();
    else if (event.key === " ") this.#timeline.togglePlaying();
    else return this.#toolbar.key(event);
    return true;
  }

  recorded(frame: StoredFrame): void {
    const keys = new Set(frame.people.map(({ id }) => String(id)));
    this.#stage.retain((key) => keys.has(key));
    for (const { id, geometry } of frame.people) this.#stage.person(String(id)).show(geometry);
    this.#stage.level(frame.record.people.map(({ joints_3d: joints }) => joints));
    this.#people.show(frame.people.map(({ id }) => ({ key: String(id), name: `Person ${id + 1}` })));
    this.#stage.moved();
    this.#scene.dataset["frame"] = String(frame.record.seq);
  }

  live(): void {
    // There is nothing live here.
  }

  /** Frees the graphics card. */
  close(): void {
    this.#timeline.close();
    this.#stage.dispose();
    this.element.remove();
  }
}
