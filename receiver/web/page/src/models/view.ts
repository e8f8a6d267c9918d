/** The models view: upload pictures, and the models that came of them. */

import type { App } from "../shell/app.ts";
import { explain } from "../shell/api.ts";
import { fill, h, icon, setText } from "../shell/dom.ts";
import { day, people } from "../live/units.ts";
import type { Status } from "../protocol/messages.ts";
import type { Model, ModelSummary } from "./types.ts";
import { DetailView, type Detail } from "../shell/detail-view.ts";
import { ACCEPT } from "../uploads/files.ts";
import { UploadQueue } from "../uploads/queue.ts";

export class ModelsView extends DetailView {
  readonly #input = h("input", {
    type: "file",
    accept: Object.values(ACCEPT).join(),
    multiple: true,
    class: "visually-hidden",
    id: "picture",
    onchange: () => this.#chosen(this.#input.files),
  });
  readonly #camera = h("input", {
    type: "file",
    accept: "image/*",
    capture: "environment",
    class: "visually-hidden",
    id: "photograph",
    onchange: () => this.#chosen(this.#camera.files),
  });
  readonly #message = h("p", { class: "notice bad", role: "alert" });
  readonly #list = h("ul", { class: "gallery" });
  readonly #drop = h("div", { class: "drop" });
  readonly #queue = new UploadQueue(this.app, (opened) => void this.#made(opened));

  constructor(app: App, element: HTMLElement) {
    super(app, element);
    this.#makeDrop();
  }

  protected override fillHome(status: Status): void {
    if (status.account === null) {
      fill(
        this.home,
        h("h1", {}, "A model of a photograph"),
        h(
          "p",
          { class: "soft" },
          "Choose a photograph of people and get them as 3D meshes to turn and download. Models belong to an account.",
        ),
        h("a", { class: "button primary", href: "#account" }, status.sign_up ? "Sign in or sign up" : "Sign in"),
      );
    } else {
      fill(this.home, h("h1", {}, "Models"), this.#drop, this.#queue.element, this.#message, this.#list);
      void this.#reload();
      this.route();
    }
  }

  #makeDrop(): void {
    const choose = (text: string, input: HTMLInputElement, style: string) =>
      h("button", { type: "button", class: `button ${style}`, onclick: () => input.click() }, text);
    fill(
      this.#drop,
      icon("upload"),
      h(
        "p",
        {},
        h("strong", {}, "Drop photographs of people here"),
        h("span", { class: "soft" }, "or clips, or a ZIP, or paste one"),
      ),
      h(
        "div",
        { class: "drop-actions" },
        choose("Choose files", this.#input, "primary"),
        choose("Take a photograph", this.#camera, "touch-only"),
      ),
      h("label", { for: "picture", class: "visually-hidden" }, "Picture"),
      this.#input,
      h("label", { for: "photograph", class: "visually-hidden" }, "Photograph"),
      this.#camera,
    );
    for (const input of [this.#input, this.#camera]) input.tabIndex = -1;
    this.#drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.#drop.classList.add("over");
    });
    this.#drop.addEventListener("dragleave", () => this.#drop.classList.remove("over"));
    this.#drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#drop.classList.remove("over");
      this.#chosen(event.dataTransfer?.files ?? null);
    });
    addEventListener("paste", (event) => {
      if (this.isShown && this.app.status?.account) this.#chosen(event.clipboardData?.files ?? null);
    });
  }

  #chosen(files: FileList | null): void {
    // A copy: the list is emptied with its control.
    if (files?.length) void this.#queue.add([...files]);
    this.#input.value = this.#camera.value = "";
  }

  async #made(opened: string | null): Promise<void> {
    await this.#reload();
    if (opened?.startsWith("#models/") && this.isShown) location.hash = opened;
  }

  async #reload(): Promise<void> {
    try {
      const { models } = await this.app.api.get<{ models: ModelSummary[] }>("/api/models");
      fill(this.#list, ...models.map(card));
    } catch (error) {
      setText(this.#message, explain(error));
    }
  }

  protected override load(view: string, id: string): Promise<Detail> | null {
    return view === "models" && id && this.app.status?.account ? this.#viewer(id) : null;
  }

  protected override refused(error: unknown): void {
    location.hash = "models";
    this.app.fail(error);
  }

  async #viewer(id: string): Promise<Detail> {
    const [model, { ModelViewer }] = await Promise.all([
      this.app.api.get<Model>(`/api/models/${encodeURIComponent(id)}`),
      import("./viewer.ts"),
    ]);
    const home = () => (location.hash = "models");
    return new ModelViewer(this.app, model, { closed: home, deleted: () => void (home(), this.#reload()) });
  }
}

function card({ id, name, people: count, created_at: created }: ModelSummary): HTMLElement {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#models/${id}` },
      h("img", { src: `/models/${id}/picture.jpg`, alt: "", loading: "lazy" }),
      h("span", { class: "card-name" }, name || "Model"),
      h("span", { class: "soft small" }, `${people(count)} · ${day(created)}`),
    ),
  );
}
