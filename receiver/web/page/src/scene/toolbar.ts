/** The buttons below a stage. */

import { h, iconButton } from "../shell/dom.ts";
import { LOOKS, type Look } from "./materials.ts";
import type { Stage } from "./stage.ts";

const NAMES: Record<Look, string> = { solid: "Plain, in clay (S)", wireframe: "Wireframe (W)", colour: "Colour (C)" };
const KEYS: Record<string, Look> = { s: "solid", w: "wireframe", c: "colour" };
/** What is on or off: its icon, its name and its key. */
const MODES = {
  complete: ["seen", "Limbs that no camera sees (U)", "u"],
  face: ["face", "Follow the face (F)", "f"],
} as const;
type Mode = keyof typeof MODES;

export class Toolbar {
  readonly element: HTMLElement;
  readonly #stage: Stage;
  readonly #looks = new Map<Look, HTMLButtonElement>();
  readonly #modes = new Map<Mode, HTMLButtonElement>();

  constructor(stage: Stage) {
    this.#stage = stage;
    for (const look of LOOKS) {
      const button = iconButton(look, NAMES[look], () => this.#setLook(look));
      this.#looks.set(look, button);
    }
    for (const mode of Object.keys(MODES) as Mode[]) {
      const [icon, name] = MODES[mode];
      this.#modes.set(
        mode,
        iconButton(icon, name, () => this.#toggle(mode)),
      );
    }
    const full = iconButton("full", "Full screen (E)", () => this.#toggleFull(), { class: "tool full" });
    this.element = h(
      "div",
      { class: "toolbar row", role: "toolbar", "aria-label": "View" },
      h("div", { class: "group" }, ...this.#looks.values()),
      h(
        "div",
        { class: "group" },
        ...this.#modes.values(),
        iconButton("reset", "Reset the view (R)", () => this.#reset()),
        document.fullscreenEnabled && full,
      ),
    );
    this.refresh();
  }

  /** Shows the stage's modes. */
  refresh(): void {
    for (const [look, button] of this.#looks) button.setAttribute("aria-pressed", String(look === this.#stage.look));
    for (const [mode, button] of this.#modes) button.setAttribute("aria-pressed", String(this.#stage[mode]));
  }

  key(event: KeyboardEvent): boolean {
    const key = event.key.toLowerCase();
    const look = KEYS[key];
    const mode = [...this.#modes.keys()].find((one) => MODES[one][2] === key);
    if (look) this.#setLook(look);
    else if (mode) this.#toggle(mode);
    else if (key === "r") this.#reset();
    else if (key === "e") this.#toggleFull();
    else return false;
    return true;
  }

  #setLook(look: Look): void {
    this.#stage.look = look;
    this.refresh();
  }

  #toggle(mode: Mode): void {
    this.#stage[mode] = !this.#stage[mode];
    this.refresh();
  }

  #reset(): void {
    this.#stage.resetView();
    this.refresh();
  }

  /** Shows the scene and its controls alone. */
  #toggleFull(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.element.closest(".live, .model")?.requestFullscreen();
  }
}
