/** The people of a scene: to follow one of them, or to hide some. */

import { fill, h, icon, setText } from "../shell/dom.ts";
import { people } from "../live/units.ts";
import type { Stage } from "./stage.ts";

/** Somebody in the scene: the stage's key, and a name. */
export interface Listed {
  key: string;
  name: string;
}

export class PeopleList {
  readonly element = h("details", { class: "people", hidden: true });
  readonly #summary = h("span");
  readonly #list = h("ul");
  readonly #stage: Stage;
  readonly #changed: () => void;
  #shown = "";
  #people: readonly Listed[] = [];

  /** @param changed is called when somebody was chosen or hidden. */
  constructor(stage: Stage, changed: () => void) {
    this.#stage = stage;
    this.#changed = changed;
    const title = "People: follow one, or hide some";
    this.element.append(h("summary", { class: "button compact", title }, icon("people"), this.#summary), this.#list);
  }

  /** Shows who is there now; who was there a moment ago stays as long as nobody else comes or goes. */
  show(listed: readonly Listed[]): void {
    const shown = JSON.stringify(listed);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#people = listed;
    this.#refresh();
  }

  #refresh(): void {
    this.element.hidden = this.#people.length === 0;
    setText(this.#summary, people(this.#people.length));
    const focused = document.activeElement?.getAttribute("aria-label");
    fill(this.#list, ...this.#people.map((person) => this.#row(person)));
    if (focused) [...this.#list.querySelectorAll("button")].find((one) => one.ariaLabel === focused)?.focus();
  }

  #row({ key, name }: Listed): HTMLElement {
    const [followed, hidden] = [this.#stage.focus === key, this.#stage.isHidden(key)];
    const follow = () => (this.#stage.focus = followed ? null : key);
    const hide = () => this.#stage.hide(key, !hidden);
    return h(
      "li",
      {},
      h("span", { class: hidden ? "soft" : null }, name),
      this.#button("Follow", `Follow ${name}`, followed, follow),
      this.#button("Hide", `Hide ${name}`, hidden, hide),
    );
  }

  #button(text: string, label: string, pressed: boolean, act: () => void): HTMLElement {
    const onclick = () => {
      act();
      this.#refresh();
      this.#changed();
    };
    const attributes = {
      type: "button",
      class: "button compact",
      "aria-label": label,
      "aria-pressed": String(pressed),
    };
    return h("button", { ...attributes, onclick }, text);
  }
}
