/** The figures beside the scene. */

import { h, setText } from "../shell/dom.ts";
import type { FrameRecord, LinkReport, LiveFrame, Traffic } from "../protocol/messages.ts";
import { ByteChart } from "./byte-chart.ts";
import { ByteHistory, SourcePace } from "./history.ts";
import { LABELS, type Label } from "./labels.ts";
import { StageBar } from "./stage-bar.ts";
import { stageTimes } from "./stage-times.ts";
import { bitrate, clockMinutes, digits, fileSize, milliseconds } from "./units.ts";
import { atOwnPace, sessionPace, type Session } from "../sessions/types.ts";

/** What one frame tells the panel; frames from the disk have their record only. */
type Shown = Pick<LiveFrame, "record"> & Partial<Pick<LiveFrame, "link" | "fps" | "traffic">>;

/** As often as figures can be read; drawing text costs more than drawing people where there is no graphics card. */
const REFRESH_MS = 500;
/** Of AV1, whole frames, in which joints are 7 % less exact: docs/rivals.md. */
const VIDEO_BYTES_A_FRAME = 324;
const VIDEO =
  "AV1 with joints 7 % less exact, in as many packets, encrypted and acknowledged likewise (docs/rivals.md)";
const RHO = "ρ of the paper: 0 is fine, 1 is coarse. It rises as the link fills up.";
const UNKNOWN = "–";

const FIGURES = {
  fps: [
    "Frames a second",
    "Frames that the receiver publishes in a second, of those that the camera gives the sender or that a video has",
  ],
  age: ["Age", "From capture to the mesh, with the largest error of the clocks"],
  capacity: ["Link capacity", "The sender's estimate"],
  roundTrip: ["Round trip", "Between sender and receiver"],
  people: ["People", "In the newest frame, and how many the sender follows at most"],
} as const;
type Figure = keyof typeof FIGURES;

export class Panel {
  readonly element: HTMLElement;
  readonly #title = h("span", {}, "Sending");
  readonly #subject = h("span", { class: "soft" });
  readonly #rate = h("p", { class: "headline" }, UNKNOWN);
  readonly #parts = h("p", { class: "soft small" });
  readonly #video = h("p", { class: "soft small", title: VIDEO });
  readonly #figures = new Map<Figure, HTMLElement>();
  readonly #total = h("span", { class: "soft" });
  readonly #chart = new ByteChart();
  readonly #labels = LABELS.map(labelRow);
  readonly #stages = new StageBar();
  #history = history();
  #pace = new SourcePace();
  /** Of the session that is shown, as long as it is live. */
  #traffic: Traffic | null = null;
  #newest: Shown | null = null;
  #ended: Session | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    const heading = (...content: (string | Node)[]) => h("h2", { class: "eyebrow row" }, ...content);
    const section = (...content: Node[]) => h("section", {}, ...content);
    this.element = h(
      "aside",
      { class: "panel", id: "panel", "aria-label": "Figures", tabindex: 0 },
      section(heading(this.#title, this.#subject), this.#rate, this.#parts, this.#video, this.#list()),
      section(heading("Bytes a frame", this.#total), this.#chart.element, this.#table()),
      section(heading("Capture to mesh"), this.#stages.element),
    );
  }

  /** Names the session that the figures are of. */
  set subject(name: string) {
    setText(this.#subject, name);
  }

  /** The session that is shown has ended; null while it goes on. */
  set ended(session: Session | null) {
    this.#ended = session;
    this.#schedule(0);
  }

  /** Takes a frame that arrived at `time`, seconds. */
  add(shown: Shown, time: number): void {
    // The record of a frame comes again with people who are predicted beyond it.
    const known = this.#newest?.record.seq === shown.record.seq;
    if (shown.fps !== undefined && !known) {
      this.#history.add(time, shown.record.bytes);
      this.#pace.add(shown.record);
      this.#traffic = shown.traffic ?? null;
    }
    this.#newest = shown;
    this.#schedule(REFRESH_MS);
  }

  /** Begins anew with another session. */
  reset(): void {
    this.#history = history();
    this.#pace = new SourcePace();
    this.#traffic = this.#newest = null;
    this.#schedule(0);
  }

  #schedule(delay: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#refresh();
    }, delay);
  }

  #refresh(): void {
    const { record = null, link = {}, fps = null, traffic = null } = this.#newest ?? {};
    this.#chart.draw(this.#history.means());
    this.#showRate(record, fps, traffic);
    const atLeast = link.capacity_at_least ? "≥ " : "";
    this.#set("fps", fps === null ? null : digits(fps) + this.#ofSource(fps, link));
    this.#set("age", record && age(record));
    this.#set("people", record && people(record, link));
    this.#set("capacity", link.capacity_bps ? atLeast + bitrate(link.capacity_bps) : null);
    this.#set("roundTrip", link.round_trip_ms ? milliseconds(link.round_trip_ms) : null);
    if (this.#ended && (!record || fps !== null)) this.#showAverages(this.#ended);
    setText(this.#total, record ? fileSize(record.bytes["total"] ?? 0) : "");
    for (const row of this.#labels) row.show(record);
    this.#stages.show(record ? stageTimes(record, link) : []);
  }

  #showRate(record: FrameRecord | null, fps: number | null, traffic: Traffic | null): void {
    const recorded = record !== null && fps === null;
    const idle = traffic?.bits_per_second === 0;
    const replayed = fps !== null && traffic === null;
    const title = recorded ? "This frame" : replayed ? "Replay" : idle ? "Last sent, on average" : "Sending";
    setText(this.#title, title);
    const size = recorded ? fileSize(record.bytes["total"] ?? 0) : UNKNOWN;
    const now = traffic && bitrate(idle ? traffic.mean_bits_per_second : traffic.bits_per_second);
    const own = replayed ? this.#pace.framesASecond : null;
    setText(this.#rate, own === null ? (now ?? size) : bitrate(8 * this.#history.recent() * own));
    const mean = traffic ? `, on average ${bitrate(traffic.mean_bits_per_second)}` : "";
    const labels = `of which labels ${bitrate(8 * this.#history.recent() * (fps ?? 0))}${mean}`;
    const live = replayed ? "of labels when it was live; a recording does not have what the link added" : labels;
    setText(this.#parts, recorded ? this.#whenLive() : !record ? "" : idle ? "nothing now" : live);
    const video = 8 * VIDEO_BYTES_A_FRAME * (fps ?? 0) + (traffic?.wrapping_bits_per_second ?? 0);
    const comparable = fps && traffic && !idle && record?.people.length;
    setText(this.#video, comparable ? `Video with similar joints: about ${bitrate(video)}` : "");
  }

  /** What the session of a frame from the disk costs or cost on its link. */
  #whenLive(): string {
    if (this.#ended) return `of its session: ${sessionPace(this.#ended)}`;
    return this.#traffic ? `of its session: ${bitrate(this.#traffic.mean_bits_per_second)} on average` : "";
  }

  /** Of how many frames a second those are that the receiver publishes, where that is another number. */
  #ofSource(fps: number, { camera_fps: camera }: LinkReport): string {
    if (camera) return ` of the camera’s ${Math.round(camera)}`;
    const own = this.#pace.framesASecond;
    return own === null || Math.abs(own - fps) <= 0.1 * own ? "" : ` of the source’s ${Math.round(own)}`;
  }

  #showAverages(session: Session): void {
    const { ended_at: at, played_fps: fps, age_ms: age, link_bps: rate, label_bytes: size, people: count } = session;
    setText(this.#title, `Session ended ${clockMinutes(at)}`);
    setText(this.#rate, rate === null ? `${fileSize(Math.round(size))} a frame` : bitrate(rate));
    setText(this.#video, "");
    setText(this.#parts, `on average: ${sessionPace(session)}`);
    this.#set("fps", fps === null ? null : digits(fps));
    this.#set("age", age === null || !atOwnPace(session) ? null : milliseconds(age));
    this.#set("people", `${count} in all`);
  }

  #set(figure: Figure, text: string | null): void {
    setText(this.#figures.get(figure)!, text ?? UNKNOWN);
  }

  #list(): HTMLElement {
    const list = h("dl", { class: "figures" });
    for (const [figure, [name, title]] of Object.entries(FIGURES)) {
      const value = h("dd", {}, UNKNOWN);
      this.#figures.set(figure as Figure, value);
      list.append(h("div", { title }, h("dt", {}, name), value));
    }
    return list;
  }

  #table(): HTMLElement {
    const names = [h("th", {}, "Label"), h("th", {}, "Bytes"), h("th", { title: RHO }, "Compression")];
    const rows = this.#labels.map(({ element }) => element);
    return h("table", { class: "labels" }, h("thead", {}, h("tr", {}, ...names)), h("tbody", {}, ...rows));
  }
}

/** A row of the table, which shows what a record says of a label group. */
function labelRow({ key, name, meaning, colour }: Label) {
  const [bytes, rho, swatch] = [h("td"), h("td"), h("span", { class: "swatch" })];
  swatch.style.background = colour;
  const element = h("tr", {}, h("th", { scope: "row", title: meaning }, swatch, ` ${name}`), bytes, rho);
  const show = (record: FrameRecord | null): void => {
    const [size, share] = [record?.bytes[key], record?.rho[key]];
    element.classList.toggle("soft", size === undefined);
    setText(bytes, size === undefined ? UNKNOWN : String(size));
    setText(rho, typeof share === "number" ? share.toFixed(2) : UNKNOWN);
  };
  return { element, show };
}

function history(): ByteHistory {
  return new ByteHistory(LABELS.map(({ key }) => key));
}

function people(record: FrameRecord, link: LinkReport): string {
  return `${record.people.length}${link.people_limit ? ` of up to ${link.people_limit}` : ""}`;
}

function age({ age_ms: age, clock_error_ms: error }: FrameRecord): string | null {
  if (age === null) return null;
  return `${milliseconds(age)}${error === null ? "" : ` ± ${digits(Math.max(error, 0.1))}`}`;
}
