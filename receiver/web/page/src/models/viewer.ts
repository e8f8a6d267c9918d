/** One model: the picture with its keypoints, and its people to turn. */

import type { App } from "../shell/app.ts";
import { confirmDialog } from "../shell/shortcuts.ts";
import { explain } from "../shell/api.ts";
import { h, icon } from "../shell/dom.ts";
import { reducedMotion } from "../shell/preferences.ts";
import { day, fileSize, milliseconds, people as peopleCount } from "../live/units.ts";
import { Stage } from "../scene/stage.ts";
import { paint, steerByKeys, Toolbar } from "../scene/toolbar.ts";
import { keypointDrawing } from "./keypoints.ts";
import type { Model, ModelPerson } from "./types.ts";

const FORMATS = { obj: "OBJ", glb: "GLB", ply: "PLY", body: "Textured GLB" } as const;

export interface ViewerListener {
  closed(): void;
  deleted(): void;
}

export class ModelViewer {
  readonly element: HTMLElement;
  readonly #app: App;
  readonly #model: Model;
  readonly #listener: ViewerListener;
  readonly #stage: Stage;
  readonly #toolbar: Toolbar;
  readonly #message = h("p", { class: "notice bad", role: "alert" });

  constructor(app: App, model: Model, listener: ViewerListener) {
    this.#app = app;
    this.#model = model;
    this.#listener = listener;
    const canvas = h("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": "The model in 3D. Arrow keys turn, Shift and arrow keys pan, plus and minus zoom.",
    });
    this.#stage = new Stage({ canvas, measured: false, reducedMotion: reducedMotion() });
    this.#stage.follow = false;
    this.#toolbar = new Toolbar(this.#stage, false);
    paint(this.#stage, app);
    steerByKeys(canvas, this.#stage, () => this.#toolbar.refresh());
    const scene = h(
      "div",
      { class: "viewport" },
      canvas,
      h("div", { class: "viewport-bottom" }, this.#toolbar.element),
    );
    this.element = h(
      "div",
      { class: "model" },
      this.#head(),
      this.#message,
      h("div", { class: "model-body" }, this.#picture(), scene),
      this.#downloads(),
    );
    void this.#load();
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === "Escape") this.#listener.closed();
    else return this.#toolbar.key(event);
    return true;
  }

  /** Frees the graphics card. */
  close(): void {
    this.#stage.dispose();
    this.element.remove();
  }

  async #load(): Promise<void> {
    try {
      const { readMesh } = await import("../scene/mesh-file.ts");
      await Promise.all(
        this.#model.people.map(async (person, number) => {
          const geometry = await readMesh(await this.#app.api.bytes(person.body ?? person.glb));
          const mesh = this.#stage.person(String(number));
          mesh.show(geometry);
        }),
      );
      this.#stage.moved();
      this.#stage.resetView(false);
      this.element.dataset["people"] = String(this.#stage.size);
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }

  #head(): HTMLElement {
    const { name, people, bytes, stages_ms: stages, created_at: created } = this.#model;
    const total = Object.values(stages).reduce((sum, value) => sum + value, 0);
    const facts = [
      peopleCount(people.length),
      `${fileSize(bytes)} of labels`,
      milliseconds(total),
      created === undefined ? "" : day(created),
    ];
    return h(
      "header",
      { class: "model-head" },
      h(
        "button",
        {
          type: "button",
          class: "tool",
          "aria-label": "Back to all models",
          title: "Back (Esc)",
          onclick: () => this.#listener.closed(),
        },
        icon("back"),
      ),
      h("div", {}, h("h1", {}, name || "Model"), h("p", { class: "soft small" }, facts.filter(Boolean).join(" · "))),
      h(
        "button",
        { type: "button", class: "button danger", onclick: () => void this.#delete() },
        icon("delete"),
        "Delete",
      ),
    );
  }

  #picture(): HTMLElement {
    const picture = h("img", {
      src: `/models/${this.#model.id}/picture.jpg`,
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
    const row = (person: ModelPerson, number: number) =>
      h(
        "li",
        {},
        h("span", {}, this.#model.people.length === 1 ? "Download" : `Download person ${number + 1}`),
        ...Object.entries(FORMATS).map(([format, name]) =>
          download(person[format as keyof typeof FORMATS], name, number),
        ),
      );
    return h("ul", { class: "downloads" }, ...this.#model.people.map(row));
  }

  async #delete(): Promise<void> {
    const text = "The picture, its meshes and its keypoints are deleted from the receiver. This cannot be undone.";
    if (!(await confirmDialog("Delete this model?", text, "Delete"))) return;
    try {
      await this.#app.api.delete(`/api/models/${this.#model.id}`);
      this.#listener.deleted();
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }
}

/** A link to a file of a person; none if there is no such file. */
function download(href: string | null, name: string, number: number): HTMLElement | null {
  if (href === null) return null;
  const label = `${name} of person ${number + 1}`;
  return h("a", { class: "button compact", href, download: "", "aria-label": label }, name);
}
