/** The people of a scene: to follow one of them, or to hide some. */

import { button, fill, h, icon, setText } from "../shell/dom.ts";
import { people } from "../live/units.ts";
import { personNumber } from "./crowd.ts";
import type { Stage } from "./stage.ts";

export class PeopleList {
  readonly element = h("details", { class: "people", hidden: true });
  readonly #summary = h("span");
  readonly #list = h("ul");
  readonly #stage: Stage;
  readonly #changed: () => void;
  #shown = "";

  /** @param changed is called when somebody was chosen or hidden. */
  constructor(stage: Stage, changed: () => void) {
    this.#stage = stage;
    this.#changed = changed;
    const title = "People: follow one, or hide some";
    this.element.append(h("summary", { class: "button compact", title }, icon("people"), this.#summary), this.#list);
  }

  /** Shows who is in the scene now. */
  refresh(): void {
    const { focus } = this.#stage.people;
    const keys = this.#stage.people.keys.toSorted((one, other) => one.localeCompare(other, "en", { numeric: true }));
    const shown = JSON.stringify([keys, focus, keys.map((key) => this.#stage.people.isHidden(key))]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.hidden = keys.length === 0;
    setText(this.#summary, people(keys.length));
    const focused = document.activeElement?.getAttribute("aria-label");
    const several = new Set(keys.map((key) => key.split(":")[0])).size > 1;
    fill(this.#list, ...keys.map((key) => this.#row(key, several)));
    if (focused) [...this.#list.querySelectorAll("button")].find((one) => one.ariaLabel === focused)?.focus();
  }

  #row(key: string, several: boolean): HTMLElement {
    const stage = this.#stage;
    const [session] = key.split(":");
    const name = `Person ${personNumber(key)}${several ? ` of session ${session}` : ""}`;
    const [followed, hidden] = [stage.people.focus === key, stage.people.isHidden(key)];
    return h(
      "li",
      { class: "row small" },
      h("span", { class: hidden ? "grow soft" : "grow" }, name),
      this.#button("Follow", name, followed, () => stage.focusOn(followed ? null : key)),
      this.#button("Hide", name, hidden, () => stage.hide(key, !hidden)),
    );
  }

  #button(text: string, name: string, pressed: boolean, act: () => void): HTMLElement {
    const element = button(text, "compact", () => {
      act();
      this.refresh();
      this.#changed();
    });
    [element.ariaLabel, element.ariaPressed] = [`${text} ${name}`, String(pressed)];
    return element;
  }
}
