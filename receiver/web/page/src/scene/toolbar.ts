/** The buttons below a stage. */

import { h, iconButton } from "../shell/dom.ts";
import { LOOKS, type Look } from "./materials.ts";
import type { Stage } from "./stage.ts";

const NAMES: Record<Look, string> = { solid: "Plain, in clay (S)", wireframe: "Wireframe (W)", colour: "Colour (C)" };
const KEYS: Record<string, Look> = { s: "solid", w: "wireframe", c: "colour" };

export class Toolbar {
  readonly element: HTMLElement;
  readonly #stage: Stage;
  readonly #looks = new Map<Look, HTMLButtonElement>();
  readonly #follow: HTMLButtonElement | null;

  /** @param follow whether there is somebody moving to follow. */
  constructor(stage: Stage, follow: boolean) {
    this.#stage = stage;
    for (const look of LOOKS) {
      const button = iconButton(look, NAMES[look], () => this.#setLook(look));
      this.#looks.set(look, button);
    }
    this.#follow = follow ? iconButton("follow", "Follow the person (F)", () => this.#toggleFollow()) : null;
    const full = iconButton("full", "Full screen (E)", () => this.#toggleFull(), { class: "tool full" });
    this.element = h(
      "div",
      { class: "toolbar row", role: "toolbar", "aria-label": "View" },
      h("div", { class: "group" }, ...this.#looks.values()),
      h(
        "div",
        { class: "group" },
        this.#follow,
        iconButton("reset", "Reset the view (R)", () => stage.resetView()),
        document.fullscreenEnabled && full,
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
