/** The slider over the frames of a session: at its end is now. An album is leafed through instead of played. */

import type { App } from "../shell/app.ts";
import { button, fill, h, icon, iconButton, setText } from "../shell/dom.ts";
import type { FrameRecord, MeshKind } from "../protocol/messages.ts";
import { recordedSession, sessionPath, type Session } from "../sessions/types.ts";
import { Recording, type StoredFrame } from "./recording.ts";
import { clockTime } from "./units.ts";

export interface TimelineListener {
  /** A frame from the disk is to be shown instead of the live ones. */
  recorded(frame: StoredFrame): void;
  /** The live frames are to be shown again. */
  live(): void;
}

const LONGEST_PAUSE_S = 1;

export class Timeline {
  readonly element: HTMLElement;
  kind: MeshKind = "surface";
  readonly #app: App;
  readonly #listener: TimelineListener;
  readonly #slider = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1 });
  readonly #text = h("output", { class: "soft small" });
  readonly #play = iconButton("play", "Play", () => this.togglePlaying(), { title: "Play (Space)" });
  readonly #previous = iconButton("back", "Previous picture (←)", () => this.leaf(-1));
  readonly #next = iconButton("back", "Next picture (→)", () => this.leaf(1), { class: "tool forward" });
  readonly #live = button("Back to live", "compact", () => this.backToLive());
  #recording: Recording | null = null;
  /** Of what plays or loads. */
  #work = new AbortController();
  #playing = false;
  #recorded = false;
  #album = false;
  readonly #hasLive: boolean;

  /** @param hasLive whether there is something to come back to: a session that has ended has nothing live. */
  constructor(app: App, listener: TimelineListener, hasLive = true) {
    this.#app = app;
    this.#listener = listener;
    this.#hasLive = hasLive;
    this.#slider.addEventListener("input", () => this.#seek());
    const parts = [this.#play, this.#previous, this.#slider, this.#next, this.#text, this.#live];
    this.element = h("div", { class: "timeline row", hidden: hasLive }, ...parts);
    this.album = false;
  }

  /** Whether the frames are pictures of their own. */
  set album(album: boolean) {
    this.#album = album;
    this.element.classList.toggle("album", album);
    this.#play.hidden = album;
    this.#previous.hidden = this.#next.hidden = !album;
    this.#slider.ariaLabel = album ? "Picture" : "Frame";
    this.#refresh();
  }

  get isRecorded(): boolean {
    return this.#recorded;
  }

  /** Shows what is on the disk of a session; null for none. */
  async choose(session: number | null): Promise<void> {
    const path = session === null ? null : sessionPath(session);
    if (path === (this.#recording?.path ?? null)) return;
    this.backToLive();
    this.#recording = path === null ? null : new Recording(this.#app.api, path);
    this.#extend(0);
    this.element.hidden = true;
    if (path === null) return;
    try {
      const stored = await recordedSession(this.#app.api, session!);
      if (!stored || this.#recording?.path !== path) return;
      this.album = stored.album;
      this.newest(session!, stored.last_seq);
    } catch {
      // Nothing can be scrubbed until the receiver answers; the state of the connection says so.
    }
  }

  /** Shows a session that has ended, from its first frame on. */
  play({ number, last_seq: lastSeq, album }: Session): void {
    this.#recording = new Recording(this.#app.api, sessionPath(number));
    this.album = album;
    this.#extend(lastSeq);
    if (!album) void this.#run();
    else this.leaf(-lastSeq);
  }

  /** Shows the picture that is so many behind the one that is shown. */
  leaf(by: number): void {
    this.#slider.valueAsNumber += by;
    this.#seek();
  }

  /** Notes the number of the newest frame of a session. */
  newest(session: number, seq: number): void {
    if (this.#recording?.path !== sessionPath(session) || seq <= 0) return;
    this.element.hidden = false;
    this.#extend(Math.max(seq, Number(this.#slider.max)));
  }

  togglePlaying(): void {
    if (this.#album) this.leaf(1);
    else if (this.#playing) this.stop();
    else if (this.#recording) void this.#run();
  }

  backToLive(): void {
    this.stop();
    if (!this.#recorded) return;
    this.#recorded = false;
    this.#slider.value = this.#slider.max;
    this.#refresh();
    this.#listener.live();
  }

  /** Loads the frame again: another kind of mesh, or other people are wanted. */
  reload(): void {
    if (!this.#recorded) return;
    this.#recording = new Recording(this.#app.api, this.#recording!.path);
    this.#seek();
  }

  #extend(seq: number): void {
    this.#slider.max = String(seq);
    if (!this.#recorded) this.#slider.value = String(seq);
    this.#refresh();
  }

  #seek(): void {
    this.#recorded = true;
    if (this.#playing) void this.#run();
    else void this.#load(Number(this.#slider.value), this.stop());
  }

  /** Shows the frame at `seq`, and returns it. */
  async #load(seq: number, signal: AbortSignal): Promise<StoredFrame | null> {
    try {
      const record = await this.#recording!.record(seq, signal);
      if (!record) return null;
      const frame = await this.#recording!.frame(record, this.kind, signal);
      if (signal.aborted) return null;
      this.#slider.value = String(record.seq);
      this.#refresh(record);
      this.#listener.recorded(frame);
      return frame;
    } catch (error) {
      if (!signal.aborted) this.#app.fail(error);
      return null;
    }
  }

  async #run(): Promise<void> {
    const ended = this.#recorded && this.#slider.value === this.#slider.max;
    if (!this.#recorded || ended) this.#slider.value = "0";
    const signal = this.stop();
    this.#playing = this.#recorded = true;
    this.#refresh();
    let last: number | null = null;
    let due = performance.now();
    while (!signal.aborted) {
      const frame = await this.#load(Number(this.#slider.value) + (last === null ? 0 : 1), signal);
      if (!frame || signal.aborted) break;
      const { captured_at: captured } = frame.record;
      due = Math.max(performance.now(), due + 1e3 * Math.min(LONGEST_PAUSE_S, last === null ? 0 : captured - last));
      last = captured;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    }
    if (!signal.aborted) this.stop();
  }

  /** Ends playing, and what is being loaded; returns the signal of what comes next. */
  stop(): AbortSignal {
    this.#playing = false;
    this.#work.abort();
    this.#work = new AbortController();
    this.#refresh();
    return this.#work.signal;
  }

  #refresh(record?: FrameRecord): void {
    const [at, last] = [Number(this.#slider.value), Number(this.#slider.max)];
    const place = `${at + 1} of ${last + 1}`;
    [this.#previous.disabled, this.#next.disabled] = [at <= 0, at >= last];
    this.#slider.setAttribute("aria-valuetext", this.#recorded ? `${this.#slider.ariaLabel} ${place}` : "Live");
    if (!this.#recorded) setText(this.#text, "");
    else if (record && this.#album) fill(this.#text, h("bdi", {}, record.source), ` · ${place}`);
    else if (record) setText(this.#text, `Frame ${place} · ${clockTime(record.captured_at)}`);
    this.#live.hidden = !this.#recorded || !this.#hasLive;
    const label = this.#playing ? "Pause" : "Play";
    if (this.#play.getAttribute("aria-label") === label) return;
    this.#play.setAttribute("aria-label", label);
    this.#play.title = `${label} (Space)`;
    this.#play.replaceChildren(icon(label.toLowerCase()));
  }
}
