/** The people of a scene: to follow one of them, to hide some, or to take out who is nobody. */

import { button, fill, h, icon, setText } from "../shell/dom.ts";
import { people } from "../live/units.ts";
import { personNumber } from "./crowd.ts";
import type { Stage } from "./stage.ts";

/** How people are taken out of what is shown, for good, or brought back. */
export interface TakeOut {
  /** Who is out. */
  hidden: readonly number[];
  /** Takes all these out, and no others; returns who is out then. */
  change: (hidden: readonly number[]) => Promise<readonly number[]>;
  failed: (error: unknown) => void;
}

export class PeopleList {
  readonly element = h("details", { class: "people", hidden: true });
  readonly #summary = h("span");
  readonly #list = h("ul");
  readonly #stage: Stage;
  readonly #changed: () => void;
  readonly #takeOut: TakeOut | undefined;
  #shown = "";

  /** @param changed is called when somebody was chosen or hidden. */
  constructor(stage: Stage, changed: () => void, takeOut?: TakeOut) {
    this.#stage = stage;
    this.#changed = changed;
    this.#takeOut = takeOut;
    const title = takeOut ? "People: follow one, hide some, or take somebody out" : "People: follow one, or hide some";
    this.element.append(h("summary", { class: "button compact", title }, icon("people"), this.#summary), this.#list);
  }

  /** Shows who is in the scene now. */
  refresh(): void {
    const { focus } = this.#stage.people;
    const keys = this.#stage.people.keys.toSorted((one, other) => one.localeCompare(other, "en", { numeric: true }));
    const out = this.#takeOut?.hidden ?? [];
    const shown = JSON.stringify([keys, focus, keys.map((key) => this.#stage.people.isHidden(key)), out]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.hidden = keys.length + out.length === 0;
    setText(this.#summary, people(keys.length));
    const focused = document.activeElement?.getAttribute("aria-label");
    const several = new Set(keys.map((key) => key.split(":")[0])).size > 1;
    fill(this.#list, ...keys.map((key) => this.#row(key, several)), ...out.map((id) => this.#rowOut(id)));
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
      this.#takeOut !== undefined && this.#outButton("Take out", personNumber(key) - 1, name),
    );
  }

  #rowOut(id: number): HTMLElement {
    const name = `Person ${id + 1}`;
    return h(
      "li",
      { class: "row small" },
      h("span", { class: "grow soft" }, name),
      this.#outButton("Bring back", id, name),
    );
  }

  #outButton(text: string, id: number, name: string): HTMLElement {
    const takeOut = this.#takeOut!;
    const others = takeOut.hidden.filter((other) => other !== id);
    const element = button(text, "compact", () => {
      const changing = takeOut.change(text === "Take out" ? [...others, id] : others);
      changing.then((hidden) => ((takeOut.hidden = hidden), this.refresh())).catch(takeOut.failed);
    });
    element.ariaLabel = `${text} ${name}`;
    return element;
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
