/** The figures beside the scene. */

import type { App } from "../shell/app.ts";
import { h, setText } from "../shell/dom.ts";
import type { FrameRecord, LinkReport, Traffic } from "../protocol/messages.ts";
import { ByteChart } from "./byte-chart.ts";
import { ByteHistory } from "./history.ts";
import { LABELS } from "./labels.ts";
import { StageBar } from "./stage-bar.ts";
import { stageTimes } from "./stage-times.ts";
import { bitrate, clockMinutes, digits, fileSize, milliseconds } from "./units.ts";
import type { Session } from "../sessions/types.ts";

/** What one frame tells the panel. */
export interface Figures {
  record: FrameRecord;
  link: LinkReport;
  /** Null for frames from the disk. */
  fps: number | null;
  /** Null for frames from the disk. */
  traffic: Traffic | null;
}

/** As often as figures can be read; drawing text costs more than drawing people where there is no graphics card. */
const REFRESH_MS = 500;
const LIVE_TITLE = "Sending";
/** Of a session whose sender pauses or has left. */
const IDLE_TITLE = "Last sent, on average";
/** Whole frames whose joints are as exact, by the best video codec: docs/rivals.md, MPJPE within 5 %. */
const VIDEO_BYTES_A_FRAME = 167;

interface LabelRow {
  row: HTMLElement;
  bytes: HTMLElement;
  rho: HTMLElement;
  meter: HTMLElement;
}

export class Panel {
  readonly element: HTMLElement;
  readonly #title = h("span", {}, LIVE_TITLE);
  readonly #subject = h("span", { class: "soft" });
  readonly #rate = h("p", { class: "headline" }, "–");
  readonly #labelRate = h("p", { class: "soft small" });
  readonly #video = h("p", {
    class: "soft small",
    title: "The best of H.264, HEVC and AV1 from which joints are found as exactly; docs/rivals.md has the measurement",
  });
  readonly #fps = h("dd", {}, "–");
  readonly #age = h("dd", {}, "–");
  readonly #people = h("dd", {}, "–");
  readonly #capacity = h("dd", {}, "–");
  readonly #roundTrip = h("dd", {}, "–");
  readonly #total = h("span", { class: "soft" });
  readonly #chart = new ByteChart(
    h("canvas", { class: "chart", role: "img", "aria-label": "Bytes a frame by label over the last minute" }),
  );
  readonly #labels = new Map<string, LabelRow>();
  readonly #stages = new StageBar();
  #history = new ByteHistory(LABELS.map((label) => label.key));
  #latest: Figures | null = null;
  #ended: Session | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(app: App) {
    this.element = h(
      "aside",
      { class: "panel", id: "panel", "aria-label": "Figures", tabindex: 0 },
      h(
        "section",
        { class: "card" },
        h("h2", { class: "eyebrow" }, this.#title, this.#subject),
        this.#rate,
        this.#labelRate,
        this.#video,
        this.#figures(),
      ),
      h(
        "section",
        { class: "card" },
        h("h2", { class: "eyebrow" }, "Bytes a frame", this.#total),
        this.#chart.canvas,
        this.#table(),
      ),
      h(
        "section",
        { class: "card" },
        h("h2", { class: "eyebrow" }, "Capture to mesh", this.#stages.total),
        this.#stages.element,
      ),
    );
    app.theme.onChange(() => {
      this.#chart.readTheme();
      this.#schedule(0);
    });
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
  add(figures: Figures, time: number): void {
    if (figures.fps !== null) this.#history.add(time, figures.record.bytes);
    this.#latest = figures;
    this.#schedule(REFRESH_MS);
  }

  /** Begins anew with another session. */
  reset(): void {
    this.#history = new ByteHistory(this.#history.labels);
    this.#latest = null;
    this.#schedule(0);
  }

  #schedule(delay: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#refresh(performance.now() / 1e3);
    }, delay);
  }

  #refresh(time: number): void {
    this.#chart.draw(this.#history, time);
    const figures = this.#latest;
    const { record, link, fps, traffic } = figures ?? {
      record: null,
      link: {} as LinkReport,
      fps: null,
      traffic: null,
    };
    const labelBits = 8 * this.#history.recent(time) * (fps ?? 0);
    const recorded = record !== null && fps === null;
    const idle = traffic !== null && traffic.bits_per_second === 0;
    setText(this.#title, recorded ? "This frame" : idle ? IDLE_TITLE : LIVE_TITLE);
    const size = record ? fileSize(record.bytes["total"] ?? 0) : "–";
    const now = traffic && bitrate(idle ? traffic.mean_bits_per_second : traffic.bits_per_second);
    setText(this.#rate, now ?? (recorded ? size : "–"));
    const mean = traffic ? `, on average ${bitrate(traffic.mean_bits_per_second)}` : "";
    const parts = idle ? "nothing now" : `of which labels ${bitrate(labelBits)}${mean}`;
    setText(this.#labelRate, recorded || !figures ? "" : parts);
    const video = fps && !idle && record?.people.length ? bitrate(8 * VIDEO_BYTES_A_FRAME * fps) : "";
    setText(this.#video, video && `Video with equal joints: about ${video} without headers`);
    setText(this.#fps, fps === null ? "–" : digits(fps));
    setText(this.#age, age(record));
    setText(this.#people, people(record, link));
    if (this.#ended && !recorded) this.#showAverages(this.#ended);
    const atLeast = link.capacity_at_least ? "≥ " : "";
    setText(this.#capacity, link.capacity_bps ? atLeast + bitrate(link.capacity_bps) : "–");
    setText(this.#roundTrip, link.round_trip_ms ? milliseconds(link.round_trip_ms) : "–");
    setText(this.#total, record ? size : "");
    this.#refreshLabels(record);
    this.#stages.show(record ? stageTimes(record, link) : [], record?.age_ms ?? null);
  }

  #showAverages({ ended_at: at, fps, age_ms: age, link_bps: rate, label_bytes: size, people: count }: Session): void {
    setText(this.#title, `Session ended ${clockMinutes(at)}`);
    setText(this.#rate, rate === null ? `${fileSize(Math.round(size))} a frame` : bitrate(rate));
    setText(this.#labelRate, `on average; ${fileSize(Math.round(size))} of labels a frame`);
    setText(this.#fps, fps === null ? "–" : digits(fps));
    setText(this.#age, age === null ? "–" : milliseconds(age));
    setText(this.#people, `${count} in all`);
  }

  #refreshLabels(record: FrameRecord | null): void {
    for (const [key, { row, bytes, rho, meter }] of this.#labels) {
      const count = record?.bytes[key];
      const value = record?.rho[key];
      row.classList.toggle("absent", count === undefined);
      setText(bytes, count === undefined ? "–" : String(count));
      setText(rho, typeof value === "number" ? value.toFixed(2) : "–");
      meter.style.width = `${100 * (value ?? 0)}%`;
    }
  }

  #figures(): HTMLElement {
    const figure = (name: string, title: string, value: HTMLElement) => h("div", { title }, h("dt", {}, name), value);
    return h(
      "dl",
      { class: "figures" },
      figure("Frames a second", "Frames that the receiver publishes", this.#fps),
      figure("Age", "From capture to the mesh, with the largest error of the clocks", this.#age),
      figure("Link capacity", "The sender's estimate", this.#capacity),
      figure("Round trip", "Between sender and receiver", this.#roundTrip),
      figure("People", "In the newest frame, and how many the sender follows at most", this.#people),
    );
  }

  #table(): HTMLElement {
    const body = h("tbody");
    for (const label of LABELS) {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = `var(${label.colour})`;
      const meter = h("span", { class: "meter-fill" });
      const [bytes, rho] = [h("td"), h("td", { class: "rho-value" })];
      const row = h(
        "tr",
        {},
        h("th", { scope: "row", title: label.meaning }, swatch, label.name),
        bytes,
        h("td", { class: "rho" }, h("span", { class: "meter", "aria-hidden": "true" }, meter)),
        rho,
      );
      this.#labels.set(label.key, { row, bytes, rho, meter });
      body.append(row);
    }
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, "Label"),
      h("th", { scope: "col" }, "Bytes"),
      h(
        "th",
        { scope: "col", colspan: 2, title: "ρ of the paper: 0 is fine, 1 is coarse. It rises as the link fills up." },
        "Compression",
      ),
    );
    return h("table", { class: "labels" }, h("thead", {}, head), body);
  }
}

function people(record: FrameRecord | null, link: LinkReport): string {
  const most = link.people_limit ? ` of up to ${link.people_limit}` : "";
  return record ? `${record.people.length}${most}` : "–";
}

function age(record: FrameRecord | null): string {
  if (!record || record.age_ms === null) return "–";
  const error = record.clock_error_ms;
  return `${milliseconds(record.age_ms)}${error === null ? "" : ` ± ${digits(Math.max(error, 0.1))}`}`;
}
