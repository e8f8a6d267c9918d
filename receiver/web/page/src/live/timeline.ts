/** The slider over the frames of a session: at its end is now. */

import type { App } from "../shell/app.ts";
import { h, icon, setText } from "../shell/dom.ts";
import type { MeshKind } from "../protocol/messages.ts";
import { recordedSession, sessionPath } from "../sessions/types.ts";
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
  readonly #slider = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Frame" });
  readonly #text = h("output", { class: "soft small" });
  readonly #play = h(
    "button",
    { type: "button", class: "tool", "aria-label": "Play", title: "Play (Space)" },
    icon("play"),
  );
  readonly #live = h("button", { type: "button", class: "button compact" }, "Back to live");
  #recording: Recording | null = null;
  #loading: AbortController | null = null;
  #playing = false;
  /** Numbers the runs, so that one that was stopped does not go on beside the next. */
  #runs = 0;
  #recorded = false;
  readonly #hasLive: boolean;

  /** @param hasLive whether there is something to come back to: a session that has ended has nothing live. */
  constructor(app: App, listener: TimelineListener, hasLive = true) {
    this.#app = app;
    this.#listener = listener;
    this.#hasLive = hasLive;
    this.#slider.addEventListener("input", () => this.#seek());
    this.#play.addEventListener("click", () => this.togglePlaying());
    this.#live.addEventListener("click", () => this.backToLive());
    this.element = h(
      "div",
      { class: "timeline", hidden: this.#hasLive },
      this.#play,
      this.#slider,
      this.#text,
      this.#live,
    );
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
      if (stored && this.#recording?.path === path) this.newest(session!, stored.last_seq);
    } catch {
      // Nothing can be scrubbed until the receiver answers; the state of the connection says so.
    }
  }

  /** Shows a session that has ended, from its first frame on. */
  play(path: string, lastSeq: number): void {
    this.#recording = new Recording(this.#app.api, path);
    this.#extend(lastSeq);
    void this.#run();
  }

  /** Notes the number of the newest frame of a session. */
  newest(session: number, seq: number): void {
    if (this.#recording?.path !== sessionPath(session) || seq <= 0) return;
    this.element.hidden = false;
    this.#extend(Math.max(seq, Number(this.#slider.max)));
  }

  /** Ends playing, and what is being loaded. */
  close(): void {
    this.#stop();
  }

  togglePlaying(): void {
    if (this.#playing) this.#stop();
    else if (this.#recording) void this.#run();
  }

  backToLive(): void {
    this.#stop();
    if (!this.#recorded) return;
    this.#recorded = false;
    this.#slider.value = this.#slider.max;
    this.#refresh();
    this.#listener.live();
  }

  /** Loads the frame again: another kind of mesh is wanted. */
  reload(): void {
    if (this.#recorded) this.#seek();
  }

  #extend(seq: number): void {
    this.#slider.max = String(seq);
    if (!this.#recorded) this.#slider.value = String(seq);
    this.#refresh();
  }

  #seek(): void {
    const playing = this.#playing;
    this.#stop();
    this.#recorded = true;
    this.#refresh();
    if (playing) void this.#run();
    else void this.#load(Number(this.#slider.value));
  }

  /** Shows the frame at `seq`; a later call replaces one that still loads. Returns the frame that is shown. */
  async #load(seq: number): Promise<StoredFrame | null> {
    this.#loading?.abort();
    const { signal } = (this.#loading = new AbortController());
    try {
      const record = await this.#recording!.record(seq, signal);
      if (!record) return null;
      const frame = await this.#recording!.frame(record, this.kind, signal);
      if (signal.aborted) return null;
      this.#slider.value = String(record.seq);
      this.#refresh(record.captured_at);
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
    this.#playing = this.#recorded = true;
    const run = ++this.#runs;
    this.#refresh();
    let last: number | null = null;
    let due = performance.now();
    while (run === this.#runs) {
      const frame = await this.#load(last === null ? Number(this.#slider.value) : Number(this.#slider.value) + 1);
      if (!frame || run !== this.#runs) break;
      const { captured_at: captured } = frame.record;
      due = Math.max(performance.now(), due + 1e3 * Math.min(LONGEST_PAUSE_S, last === null ? 0 : captured - last));
      last = captured;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    }
    if (run === this.#runs) this.#stop();
  }

  #stop(): void {
    this.#playing = false;
    this.#runs += 1;
    this.#loading?.abort();
    this.#refresh();
  }

  #refresh(capturedAt?: number): void {
    const { value, max } = this.#slider;
    this.#slider.style.setProperty("--filled", `${(100 * Number(value)) / Math.max(1, Number(max))}%`);
    const place = `Frame ${value} of ${max}`;
    this.#slider.setAttribute("aria-valuetext", this.#recorded ? place : "Live");
    if (!this.#recorded) setText(this.#text, "");
    else if (capturedAt !== undefined) setText(this.#text, `${place} · ${clockTime(capturedAt)}`);
    this.#live.hidden = !this.#recorded || !this.#hasLive;
    const label = this.#playing ? "Pause" : "Play";
    if (this.#play.getAttribute("aria-label") === label) return;
    this.#play.setAttribute("aria-label", label);
    this.#play.title = `${label} (Space)`;
    this.#play.replaceChildren(icon(label.toLowerCase()));
  }
}
