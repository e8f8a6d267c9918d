/** A bar with a segment for each stage, and its legend. */

import { fill, h } from "../shell/dom.ts";
import { bands } from "./byte-chart.ts";
import type { StageTime } from "./stage-times.ts";
import { milliseconds } from "./units.ts";

export class StageBar {
  readonly #bar = h("div", { class: "stack", "aria-hidden": "true" });
  readonly #legend = h("ul", { class: "legend" });
  readonly element = h("div", {}, this.#bar, this.#legend);

  show(stages: readonly StageTime[]): void {
    this.#bar.style.background = bands(
      "right",
      stages.map((stage) => [colour(stage, stages), stage.milliseconds]),
    );
    fill(this.#legend, ...stages.map((stage) => row(stage, stages)));
  }
}

/** Shades from the first stage of an end to its last one. */
function colour({ where, key }: StageTime, stages: readonly StageTime[]): string {
  const there = stages.filter((stage) => stage.where === where);
  const place = there.findIndex((stage) => stage.key === key) / Math.max(1, there.length - 1);
  return `color-mix(in oklch, var(--time-${where}-last) ${100 * place}%, var(--time-${where}))`;
}

function row(stage: StageTime, stages: readonly StageTime[]): HTMLElement {
  const swatch = h("span", { class: "swatch" });
  swatch.style.background = colour(stage, stages);
  const name = h("span", { class: "grow" }, stage.name);
  return h("li", { class: "row small" }, swatch, name, milliseconds(stage.milliseconds));
}
