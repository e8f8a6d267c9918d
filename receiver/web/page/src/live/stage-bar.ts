/** A bar with a segment for each stage, and its legend. */

import { h, setText } from "../shell/dom.ts";
import type { StageTime } from "./stage-times.ts";
import { milliseconds } from "./units.ts";

/** Custom properties of styles/tokens.css: `--time-sender-1` and so on. */
const COLOURS = { sender: 5, link: 1, receiver: 7 } as const;

interface Segment {
  bar: HTMLElement;
  row: HTMLElement;
  value: HTMLElement;
}

export class StageBar {
  readonly total = h("span", { class: "soft" });
  readonly #bar = h("div", { class: "stack", "aria-hidden": "true" });
  readonly #legend = h("ul", { class: "legend" });
  readonly element = h("div", {}, this.#bar, this.#legend);
  #segments = new Map<string, Segment>();
  #keys = "";

  show(stages: readonly StageTime[], age: number | null): void {
    setText(this.total, age === null ? "" : milliseconds(age));
    const keys = stages.map((stage) => stage.key).join();
    if (keys !== this.#keys) this.#build(stages, keys);
    const sum = stages.reduce((total, stage) => total + stage.milliseconds, 0);
    for (const stage of stages) {
      const segment = this.#segments.get(stage.key)!;
      segment.bar.style.width = `${(100 * stage.milliseconds) / Math.max(sum, 1e-9)}%`;
      setText(segment.value, milliseconds(stage.milliseconds));
    }
  }

  #build(stages: readonly StageTime[], keys: string): void {
    this.#keys = keys;
    this.#segments = new Map();
    const used = { sender: 0, link: 0, receiver: 0 };
    for (const stage of stages) {
      const number = (used[stage.where]++ % COLOURS[stage.where]) + 1;
      const colour = stage.where === "link" ? "var(--time-link)" : `var(--time-${stage.where}-${number})`;
      const [bar, swatch, value] = [h("span"), h("span", { class: "swatch" }), h("span", { class: "value" })];
      bar.style.background = swatch.style.background = colour;
      const row = h("li", { "data-where": stage.where }, swatch, h("span", {}, stage.name), value);
      this.#segments.set(stage.key, { bar, row, value });
    }
    this.#bar.replaceChildren(...[...this.#segments.values()].map((segment) => segment.bar));
    this.#legend.replaceChildren(...[...this.#segments.values()].map((segment) => segment.row));
  }
}
