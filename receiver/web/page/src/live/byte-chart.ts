/** The bytes of a frame over the last minute: a column for each second, stacked by label. */

import { fill, h, setText } from "../shell/dom.ts";
import { HISTORY_S } from "./history.ts";
import { LABELS } from "./labels.ts";

const SCALES = [25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800];

export class ByteChart {
  readonly #most = h("span");
  readonly #half = h("span");
  readonly #columns = h("div", { class: "columns" });
  readonly element = h(
    "div",
    { class: "chart", role: "img", "aria-label": "Bytes a frame by label over the last minute" },
    h("div", { class: "scale" }, this.#most, this.#half, h("span", {}, "0")),
    this.#columns,
    h("span", {}, `${HISTORY_S} s ago`),
    h("span", {}, "now"),
  );

  /** @param seconds mean bytes of a frame by label, from the oldest second to the newest. */
  draw(seconds: readonly (readonly number[])[]): void {
    const sums = seconds.map((bytes) => bytes.reduce((sum, value) => sum + value, 0));
    const most = Math.max(...sums, 1);
    const scale = SCALES.find((value) => value >= most) ?? most;
    setText(this.#most, String(Math.round(scale)));
    setText(this.#half, String(Math.round(scale / 2)));
    fill(this.#columns, ...seconds.map((bytes, k) => column(bytes, sums[k]!, scale)));
  }
}

function column(bytes: readonly number[], sum: number, scale: number): HTMLElement {
  const element = h("span");
  element.style.background = bands(
    "top",
    LABELS.map(({ colour }, k) => [colour, bytes[k]!]),
  );
  element.style.height = `${(100 * sum) / scale}%`;
  return element;
}

/** A background of bands, each of a colour and as wide as its share of all values. */
export function bands(towards: "top" | "right", parts: readonly (readonly [colour: string, value: number])[]): string {
  const sum = parts.reduce((all, [, value]) => all + value, 0);
  let end = 0;
  const stops = parts.map(([colour, value]) => `${colour} ${end}% ${(end += (100 * value) / (sum || 1))}%`);
  return `linear-gradient(to ${towards}, ${stops.join()})`;
}
