/** The controls of a stage: buttons below it, and keys while it has the focus. */

import { h, iconButton } from "../shell/dom.ts";
import { token } from "../shell/preferences.ts";
import type { App } from "../shell/app.ts";
import { LOOKS, type Look } from "./materials.ts";
import type { Stage } from "./stage.ts";

const NAMES: Record<Look, string> = { solid: "Plain, in clay (S)", wireframe: "Wireframe (W)", colour: "Colour (C)" };
const KEYS: Record<string, Look> = { s: "solid", w: "wireframe", c: "colour" };
const TURN = Math.PI / 24;

export class Toolbar {
  readonly element: HTMLElement;
  readonly #stage: Stage;
  readonly #looks = new Map<Look, HTMLButtonElement>();
  readonly #follow: HTMLButtonElement | null;

  /**
   * @param follow whether there is somebody moving to follow.
   * @param more further buttons.
   */
  constructor(stage: Stage, follow: boolean, ...more: readonly HTMLElement[]) {
    this.#stage = stage;
    for (const look of LOOKS) {
      this.#looks.set(
        look,
        iconButton(look, NAMES[look], () => this.#setLook(look)),
      );
    }
    this.#follow = follow ? iconButton("follow", "Follow the person (F)", () => this.#toggleFollow()) : null;
    const full = iconButton("full", "Full screen (E)", () => this.#toggleFull(), { class: "tool full" });
    this.element = h(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "View" },
      h("div", { class: "group" }, ...this.#looks.values()),
      h(
        "div",
        { class: "group" },
        this.#follow,
        iconButton("reset", "Reset the view (R)", () => stage.resetView()),
        document.fullscreenEnabled && full,
        ...more,
      ),
    );
    this.refresh();
  }

  /** Shows the stage's modes. */
  refresh(): void {
    for (const [look, button] of this.#looks) button.setAttribute("aria-pressed", String(look === this.#stage.look));
    this.#follow?.setAttribute("aria-pressed", String(this.#stage.follow));
  }

  key(event: KeyboardEvent): boolean {
    const key = event.key.toLowerCase();
    const look = KEYS[key];
    if (look) this.#setLook(look);
    else if (key === "f" && this.#follow) this.#toggleFollow();
    else if (key === "r") this.#stage.resetView();
    else if (key === "e") this.#toggleFull();
    else return false;
    return true;
  }

  #setLook(look: Look): void {
    this.#stage.look = look;
    this.refresh();
  }

  /** Shows the scene and its controls alone. */
  #toggleFull(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.element.closest(".live, .model")?.requestFullscreen();
  }

  #toggleFollow(): void {
    this.#stage.follow = !this.#stage.follow;
    this.refresh();
  }
}

/** Turns, pans and zooms by arrow keys, plus and minus while the canvas has the focus. */
export function steerByKeys(canvas: HTMLCanvasElement, stage: Stage, changed: () => void): void {
  const steps: Record<string, readonly [number, number]> = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, 1],
    ArrowDown: [0, -1],
  };
  canvas.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (step && event.shiftKey) stage.pan(step[0], step[1]);
    else if (step) stage.orbit(TURN * step[0], -TURN * step[1]);
    else if (event.key === "+" || event.key === "=") stage.zoom(0.87);
    else if (event.key === "-") stage.zoom(1.15);
    else return;
    event.preventDefault();
    changed();
  });
}

/** Keeps a stage's colours those of the theme. */
export function paint(stage: Stage, app: App): void {
  app.theme.onChange(() => {
    stage.palette = {
      background: token("--stage"),
      clay: token("--stage-clay"),
      line: token("--stage-line"),
      lineStrong: token("--stage-line-strong"),
      shadow: token("--stage-shadow"),
    };
  });
}
