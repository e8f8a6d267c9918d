/** One model: the picture with its keypoints, and its people to turn. */

import type { App } from "../shell/app.ts";
import { confirmDialog } from "../shell/shortcuts.ts";
import { address, explain } from "../shell/api.ts";
import { button, fill, h, iconButton } from "../shell/dom.ts";
import { day, duration, facts, fileSize, people as peopleCount } from "../live/units.ts";
import { quickLook } from "../scene/room.ts";
import { Viewport } from "../scene/viewport.ts";
import { keypointDrawing, unseenParts } from "./keypoints.ts";
import type { Model, ModelPerson } from "./types.ts";
import { Wardrobe } from "./wardrobe.ts";

const FORMATS = ["obj", "glb", "ply"] as const;
const SURFACE = "Watertight surface";
const BODY = "Body with texture and skeleton";
/** Attributes, and colours, of what is worn where limbs may be left out; the others are always shown. */
const ON_LEGS = ["bottom", "bottom_fit", "shoes"];
const ON_ARMS = ["sleeve"];
const ON_HEAD = ["hair", "headwear"];

export class ModelViewer {
  readonly element: HTMLElement;
  readonly #app: App;
  readonly #model: Model;
  readonly #closed: () => void;
  readonly #deleted: () => void;
  readonly #changed: () => void;
  readonly #viewport: Viewport;
  readonly #wardrobes = h("div", { class: "wardrobes", role: "region", "aria-label": "Clothes" });
  readonly #message = h("p", { class: "notice bad", role: "alert" });
  readonly #person = h("select", { class: "picker", "aria-label": "Person", onchange: () => this.#choose() });
  #files: readonly HTMLElement[] = [];

  /** @param changed is called when other people are in the model. */
  constructor(app: App, model: Model, closed: () => void, deleted: () => void, changed: () => void) {
    this.#app = app;
    this.#model = model;
    [this.#closed, this.#deleted, this.#changed] = [closed, deleted, changed];
    this.#viewport = new Viewport({ app, name: "The model", live: false });
    const scene = this.#viewport.element;
    this.element = h(
      "div",
      { class: "model" },
      this.#head(),
      this.#message,
      h("div", { class: "model-body" }, this.#picture(), scene, this.#wardrobes),
      this.#downloads(),
    );
    this.#choose();
    void this.#load();
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === "Escape") this.#closed();
    else return this.#viewport.toolbar.key(event);
    return true;
  }

  /** Frees the graphics card. */
  close(): void {
    this.#viewport.close();
    this.element.remove();
  }

  async #load(): Promise<void> {
    try {
      const { readMesh } = await import("../scene/mesh-file.ts");
      const { stage } = this.#viewport;
      const show = async (path: string, person: ModelPerson) => {
        const shown = stage.people.person(String(person.number));
        shown.seen.take(person, this.#model.height);
        shown.show(await readMesh(await this.#app.api.bytes(path)));
      };
      await Promise.all(this.#model.people.map((person) => show(person.body ?? person.glb, person)));
      stage.moved();
      stage.resetView(false);
      fill(this.#wardrobes, ...this.#model.people.map((person) => this.#wardrobe(person, show)));
      this.#choose();
      this.element.dataset["people"] = String(stage.people.size);
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }

  #head(): HTMLElement {
    const { name, people, bytes, sent, stages_ms: stages, created_at: created } = this.#model;
    const total = Object.values(stages).reduce((sum, value) => sum + value, 0);
    const known = [peopleCount(people.length), `made in ${duration(total)}`, created === undefined ? "" : day(created)];
    const parts = Object.entries(sent ?? {}).filter(([part]) => part !== "total");
    const listed = parts.map(([part, size]) => `${part} ${fileSize(size)}`).join(", ");
    return h(
      "header",
      { class: "model-head row" },
      iconButton("back", "Back to all models (Esc)", () => this.#closed()),
      h(
        "div",
        { class: "grow" },
        h("h1", {}, name || "Model"),
        h("p", { class: "soft small" }, facts(...known)),
        h("p", { class: "soft small" }, sent ? `${fileSize(sent.total)} sent: ${listed}` : `labels ${fileSize(bytes)}`),
      ),
      button("Delete", "danger", () => void this.#delete(), "delete"),
    );
  }

  #wardrobe(person: ModelPerson, show: (path: string, person: ModelPerson) => Promise<void>): HTMLElement | null {
    if (!person.body || !person.wears) return null;
    const name = this.#model.people.length === 1 ? "Wear something else" : `Person ${person.number + 1} wears`;
    const shown = async (path: string) => {
      await show(path, person);
      // Soles and legs may be longer.
      this.#viewport.stage.floor.forget();
      this.#viewport.stage.moved();
    };
    const unseen = unseenParts(person.keypoints_2d, this.#model).flatMap(({ worn }) => worn);
    const mark = (kind: string) => (unseen.includes(kind) ? "not seen" : person.unsure.includes(kind) ? "unsure" : "");
    const reveal = (worn: string, colour: boolean) => this.#reveal(String(person.number), worn, colour);
    const { element } = new Wardrobe(person, this.#model.together, name, mark, reveal, shown);
    element.dataset["person"] = String(person.number);
    return element;
  }

  /** Shows where somebody wears what is about to change; returns what the user should know of it. */
  #reveal(key: string, worn: string, colour: boolean): string {
    const { stage, toolbar } = this.#viewport;
    const person = stage.people.person(key);
    const arms = ON_ARMS.includes(worn) && person.seen.unseenArms.length > 0;
    const limbs = ON_LEGS.includes(worn) ? "Legs" : arms ? "Arms" : "";
    const invented = limbs !== "" && person.isBust;
    const clay = colour && stage.look !== "colour";
    if (invented) stage.complete = true;
    if (clay) stage.look = "colour";
    if (stage.face && !ON_HEAD.includes(worn)) stage.resetView();
    toolbar.refresh();
    if (invented) return `${limbs} that no camera saw are shown now: U hides them.`;
    return clay ? "Colours are shown now: S hides them." : "";
  }

  #picture(): HTMLElement {
    const picture = h("img", {
      src: address(`/models/${this.#model.id}/picture.jpg`),
      alt: "The picture that the model was made from",
    });
    const figure = h("figure", { class: "source" }, picture);
    picture.addEventListener("load", () => {
      const { width = picture.naturalWidth, height = picture.naturalHeight, people } = this.#model;
      figure.append(keypointDrawing(people, width, height));
    });
    return figure;
  }

  #downloads(): HTMLElement {
    const rows = (person: ModelPerson) => {
      const { number } = person;
      const surfaces = FORMATS.map((format) => {
        const name = format.toUpperCase();
        return download(person[format], name, `${name} of person ${number + 1}`);
      });
      return [
        h(
          "li",
          { class: "row" },
          h("span", { class: "grow" }, SURFACE),
          ...surfaces,
          person.textured !== null &&
            download(person.textured, "GLB with texture", `GLB with texture of person ${number + 1}`),
        ),
        person.body !== null &&
          h(
            "li",
            { class: "row" },
            h("span", { class: "grow" }, BODY),
            download(person.body, "GLB", `${BODY} of person ${number + 1}`),
            person.usdz !== null && download(person.usdz, "USDZ", `USDZ of person ${number + 1}`),
            person.usdz !== null && quickLook(address(person.usdz), `See person ${number + 1} in your room`),
          ),
      ];
    };
    const { people, hidden } = this.#model;
    this.#person.append(...people.map(({ number }) => h("option", { value: number }, `Person ${number + 1}`)));
    this.#person.hidden = people.length === 1;
    this.#files = people.map((person) => h("ul", { class: "grow", "data-person": person.number }, ...rows(person)));
    const takeOut = button("Take out", "compact", () => void this.#hide([...hidden, Number(this.#person.value)]));
    takeOut.title = "This is nobody: take the person out of the model";
    const back = (out: number) =>
      button(`Bring back person ${out + 1}`, "compact", () => void this.#hide(hidden.filter((each) => each !== out)));
    const chosen = h("div", { class: "chosen row" }, this.#person, people.length > 1 && takeOut, ...hidden.map(back));
    return h("div", { class: "downloads row" }, chosen, ...this.#files);
  }

  async #hide(hidden: readonly number[]): Promise<void> {
    try {
      await this.#app.api.post(`/api/models/${this.#model.id}`, { hidden }, "PATCH");
      this.#changed();
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }

  /** Shows the files and the clothes of one person. */
  #choose(): void {
    const chosen = this.#person.value;
    for (const each of [...this.#files, ...this.#wardrobes.children])
      each.toggleAttribute("hidden", each.getAttribute("data-person") !== chosen);
  }

  async #delete(): Promise<void> {
    const text = "The picture, its meshes and its keypoints are deleted from the receiver. This cannot be undone.";
    if (!(await confirmDialog("Delete this model?", text, "Delete"))) return;
    try {
      await this.#app.api.delete(`/api/models/${this.#model.id}`);
      this.#deleted();
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }
}

/** A link to a file of a person. */
function download(path: string, name: string, label: string): HTMLElement {
  return h("a", { class: "button compact", href: address(path), download: "", "aria-label": label }, name);
}
