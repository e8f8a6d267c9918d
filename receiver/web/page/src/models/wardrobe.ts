/** Changes what a person of a model wears, its colours and its build, in the words of `receiver export`. */

import { address, explain } from "../shell/api.ts";
import { button, fill, h } from "../shell/dom.ts";
import type { ModelPerson, WearRule } from "./types.ts";

/** common/wear_kinds.py names attributes and values. */
export const KINDS: Readonly<Record<string, readonly [name: string, values: Readonly<Record<string, string>>]>> = {
  hair: ["Hair", { bald: "Bald", short: "Short", medium: "Medium", long: "Long", tied: "Tied", hidden: "Hidden" }],
  headwear: [
    "Headwear",
    { none: "None", cap: "Cap", helmet: "Helmet", hat: "Hat", beanie: "Beanie", hood: "Hood", scarf: "Scarf" },
  ],
  layer: [
    "Upper body",
    { top: "Top", jacket: "Jacket", coat: "Coat", vest: "Vest", dress: "Dress", robe: "Robe", none: "Bare" },
  ],
  sleeve: ["Sleeves", { bare: "Bare arms", sleeveless: "None", short: "Short", long: "Long" }],
  top_fit: ["Fit above", { tight: "Tight", regular: "Regular", loose: "Loose" }],
  bottom: [
    "Lower body",
    {
      trousers: "Trousers",
      knee: "To the knee",
      shorts: "Shorts",
      skirt_short: "Short skirt",
      skirt_long: "Long skirt",
      brief: "Briefs",
    },
  ],
  bottom_fit: ["Fit below", { tight: "Tight", regular: "Regular", loose: "Loose" }],
  shoes: ["Shoes", { barefoot: "Barefoot", sandals: "Sandals", shoes: "Shoes", boots: "Boots" }],
};
const TINTS = { hair: "Hair", top: "Upper body", bottom: "Lower body", shoes: "Shoes", skin: "Skin" } as const;
const BUILD = { height: ["Height", "cm", 20], weight: ["Weight", "kg", 25] } as const;

export class Wardrobe {
  readonly element: HTMLElement;
  readonly #person: ModelPerson;
  readonly #together: readonly WearRule[];
  readonly #show: (path: string) => Promise<void>;
  readonly #reveal: (worn: string, colour: boolean) => string;
  readonly #mark: (kind: string) => string;
  readonly #kinds = new Map<string, HTMLSelectElement>();
  readonly #tints = new Map<string, HTMLInputElement>();
  readonly #build = new Map<string, HTMLInputElement>();
  readonly #state = h("p", { class: "small soft", role: "status" });
  readonly #download = h(
    "a",
    { class: "button compact", download: "", "aria-label": "Changed body as GLB" },
    "Download",
  );
  readonly #reset = button("As sent", "compact", () => this.reset());
  /** The path that is shown or on its way. */
  #asked: string;
  /** What is to be said of the last change. */
  #note = "";
  #busy = false;

  /**
   * @param mark what is to be said of an attribute that the picture does not show, or not surely.
   * @param reveal makes sure that what is about to change is seen, clothes or their colour; returns what to say of it.
   * @param show shows the body at a path.
   */
  constructor(
    person: ModelPerson,
    together: readonly WearRule[],
    name: string,
    mark: (kind: string) => string,
    reveal: (worn: string, colour: boolean) => string,
    show: (path: string) => Promise<void>,
  ) {
    this.#person = person;
    this.#mark = mark;
    this.#together = together;
    [this.#reveal, this.#show] = [reveal, show];
    this.#asked = person.body!;
    this.element = h(
      "fieldset",
      { class: "wardrobe" },
      h("legend", {}, name),
      h("div", { class: "wardrobe-top row" }, this.#reset, this.#download, this.#state),
      ...Object.keys(KINDS).map((kind) => this.#kind(kind)),
      ...Object.keys(BUILD).map((measure) => this.#measure(measure as keyof typeof BUILD)),
      ...Object.keys(TINTS).map((part) => this.#tint(part as keyof typeof TINTS)),
    );
    this.#fill();
  }

  reset(): void {
    this.#fill();
    this.#changed();
  }

  /** The path of the body with the changes. */
  get path(): string {
    const words = new URLSearchParams();
    for (const [kind, select] of this.#kinds) {
      if (select.value && select.value !== this.#person.wears?.[kind]) words.append("wear", `${kind}=${select.value}`);
    }
    for (const [part, input] of this.#tints)
      if (input.dataset["chosen"]) words.append("tint", `${part}=${input.value}`);
    for (const [measure, input] of this.#build) {
      const value = Number(input.value);
      if (value) words.append("shape", `${measure}=${value > 0 ? "+" : ""}${value}${input.dataset["unit"]}`);
    }
    const query = words.toString();
    return query ? `${this.#person.body}?${query}` : this.#person.body!;
  }

  #fill(): void {
    for (const [kind, select] of this.#kinds) select.value = this.#person.wears?.[kind] ?? "";
    for (const input of this.#tints.values()) delete input.dataset["chosen"];
    for (const input of this.#build.values()) {
      input.value = "0";
      this.#describe(input);
    }
    this.#download.hidden = this.#reset.disabled = true;
    this.#state.textContent = this.#note = "";
  }

  /** Asks for one body at a time; what was changed meanwhile is asked for then. */
  #changed(): void {
    const changed = this.path !== this.#person.body;
    this.#reset.disabled = !changed;
    this.#download.hidden = !changed;
    this.#download.href = address(this.path);
    if (!this.#busy) void this.#ask();
  }

  async #ask(): Promise<void> {
    this.#busy = true;
    this.#state.textContent = "Changing…";
    let said = "";
    while (this.path !== this.#asked) {
      this.#asked = this.path;
      try {
        await this.#show(this.#asked);
        said = "";
      } catch (error) {
        said = explain(error);
      }
    }
    this.#busy = false;
    fill(this.#state, said || this.#note);
  }

  #kind(kind: string): HTMLElement {
    const [name, values] = KINDS[kind]!;
    const mark = this.#mark(kind);
    const options = Object.entries(values).map(([value, text]) => h("option", { value }, text));
    const select = h("select", { class: "picker", "aria-label": name, onchange: () => this.#chosen(kind) }, ...options);
    this.#kinds.set(kind, select);
    return h("label", {}, h("span", {}, name, mark && h("span", { class: "soft" }, ` (${mark})`)), select);
  }

  /** What was chosen stays, and what cannot be worn with it changes, as the receiver would change it. */
  #chosen(kind: string): void {
    this.#note = this.#reveal(kind, false);
    for (const rule of this.#together) {
      const [own, other] = [this.#kinds.get(rule.attribute)!, this.#kinds.get(rule.other)!];
      if (!rule.values.includes(own.value) || rule.others.includes(other.value)) continue;
      if (rule.attribute === kind) other.value = rule.implied;
      else own.value = rule.instead[0]!;
    }
    this.#changed();
  }

  #measure(measure: keyof typeof BUILD): HTMLElement {
    const [name, unit, most] = BUILD[measure];
    const input = h("input", {
      type: "range",
      "aria-label": name,
      min: -most,
      max: most,
      "data-unit": unit,
      oninput: () => ((this.#note = ""), this.#describe(input), this.#changed()),
    });
    this.#build.set(measure, input);
    return h("label", {}, name, input);
  }

  #describe(input: HTMLInputElement): void {
    const value = Number(input.value);
    input.setAttribute(
      "aria-valuetext",
      value ? `${value > 0 ? "+" : "−"}${Math.abs(value)} ${input.dataset["unit"]}` : "as sent",
    );
    input.title = input.getAttribute("aria-valuetext")!;
  }

  #tint(part: keyof typeof TINTS): HTMLElement {
    const input = h("input", {
      type: "color",
      "aria-label": `${TINTS[part]} colour`,
      value: "#808080",
      onchange: () => {
        input.dataset["chosen"] = "yes";
        this.#note = this.#reveal(part, true);
        this.#changed();
      },
    });
    this.#tints.set(part, input);
    return h("label", {}, `${TINTS[part]} colour`, input);
  }
}
