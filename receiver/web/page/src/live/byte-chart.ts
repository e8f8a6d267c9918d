/** The bytes of a frame over the last minute, stacked by label. */

import { token } from "../shell/preferences.ts";
import { HISTORY_S, type ByteHistory } from "./history.ts";
import { LABELS } from "./labels.ts";

const GAP = 1;
const SCALES = [25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800];
const AXIS_WIDTH = 34;

export class ByteChart {
  readonly canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  #colours: string[] = [];
  #rule = "";
  #ink = "";
  #font = "";

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d")!;
  }

  /** Reads the colours of the theme. */
  readTheme(): void {
    this.#colours = LABELS.map((label) => token(label.colour));
    this.#rule = token("--rule");
    this.#ink = token("--ink-soft");
    this.#font = `11px ${token("--font")}`;
  }

  /** Draws the minute before `time`, seconds; the second that runs is left out. */
  draw(history: ByteHistory, time: number): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width === 0) return;
    this.#clear(width, height);
    const top = this.#scale(history, time);
    const bottom = height - 16;
    const reach = bottom - 8;
    this.#axis(width, bottom, reach, top);
    const column = (width - AXIS_WIDTH) / HISTORY_S;
    for (let age = 1; age < HISTORY_S; age++) {
      let y = bottom;
      for (let label = 0; label < LABELS.length; label++) {
        const length = (history.mean(time, age, label) / top) * reach;
        if (length === 0) continue;
        this.#context.fillStyle = this.#colours[label]!;
        this.#context.fillRect(width - age * column, y - length, Math.max(1, column - GAP), length);
        y -= length;
      }
    }
  }

  #clear(width: number, height: number): void {
    const ratio = Math.min(devicePixelRatio, 2);
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#context.clearRect(0, 0, width, height);
  }

  #scale(history: ByteHistory, time: number): number {
    let most = 0;
    for (let age = 1; age < HISTORY_S; age++) {
      let sum = 0;
      for (let label = 0; label < LABELS.length; label++) sum += history.mean(time, age, label);
      most = Math.max(most, sum);
    }
    return SCALES.find((scale) => scale >= most) ?? most;
  }

  #axis(width: number, bottom: number, reach: number, top: number): void {
    const context = this.#context;
    context.font = this.#font;
    context.textBaseline = "middle";
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(bottom - share * reach) + 0.5;
      context.fillStyle = this.#rule;
      context.fillRect(AXIS_WIDTH, y - 0.5, width - AXIS_WIDTH, 1);
      context.fillStyle = this.#ink;
      context.textAlign = "right";
      context.fillText(String(Math.round(share * top)), AXIS_WIDTH - 8, y);
    }
    context.textBaseline = "bottom";
    context.textAlign = "left";
    context.fillText("60 s ago", AXIS_WIDTH, bottom + 16);
    context.textAlign = "right";
    context.fillText("now", width, bottom + 16);
  }
}
