/** The models view: upload pictures, and the models that came of them. */

import type { App } from "../shell/app.ts";
import { address, explain } from "../shell/api.ts";
import { button, fill, h, icon, setText } from "../shell/dom.ts";
import { day, people } from "../live/units.ts";
import type { Status } from "../protocol/messages.ts";
import type { Model, ModelSummary } from "./types.ts";
import { DetailView, type Detail } from "../shell/detail-view.ts";
import { ACCEPT, fileInput } from "../uploads/files.ts";
import { UploadQueue } from "../uploads/queue.ts";

export class ModelsView extends DetailView {
  readonly #input = fileInput(
    { id: "picture", "aria-label": "Picture", accept: Object.values(ACCEPT).join(), multiple: true },
    (files) => this.#queue.add(files),
  );
  readonly #camera = fileInput(
    { id: "photograph", "aria-label": "Photograph", accept: "image/*", capture: "environment" },
    (files) => this.#queue.add(files),
  );
  readonly #message = h("p", { class: "notice bad", role: "alert" });
  readonly #list = h("ul", { class: "gallery" });
  readonly #drop = h("div", { class: "drop card row" });
  readonly #queue = new UploadQueue(this.app, (opened) => void this.#made(opened));

  constructor(app: App, element: HTMLElement) {
    super(app, element);
    this.#makeDrop();
  }

  protected override fillHome(status: Status): void {
    if (!status.models) {
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
      const guest = h("p", { class: "soft", hidden: status.account !== null });
      fill(guest, "Without an account the newest photograph is kept, until the next. ");
      const signIn = status.sign_up ? "Sign in or sign up" : "Sign in";
      guest.append(h("a", { href: "#account" }, signIn), " to keep more, and for clips.");
      fill(this.home, h("h1", {}, "Models"), guest, this.#drop, this.#queue.element, this.#message, this.#list);
      void this.#reload();
      this.route();
    }
  }

  #makeDrop(): void {
    fill(
      this.#drop,
      icon("upload"),
      h(
        "p",
        { class: "grow" },
        h("strong", {}, "Drop photographs of people here"),
        h("span", { class: "soft" }, "or clips, or paste one"),
      ),
      h(
        "div",
        { class: "row" },
        button("Choose files", "primary", () => this.#input.click()),
        button("Take a photograph", "touch-only", () => this.#camera.click()),
      ),
      this.#input,
      this.#camera,
    );
    this.#drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.#drop.classList.add("over");
    });
    this.#drop.addEventListener("dragleave", () => this.#drop.classList.remove("over"));
    this.#drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#drop.classList.remove("over");
      this.#queue.add(event.dataTransfer?.files ?? []);
    });
    addEventListener("paste", (event) => {
      if (this.isShown && this.app.status?.models) this.#queue.add(event.clipboardData?.files ?? []);
    });
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
    return view === "models" && id && this.app.status?.models ? this.#viewer(id) : null;
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
    const changed = () => void (this.route(), this.#reload());
    return new ModelViewer(this.app, model, home, () => void (home(), this.#reload()), changed);
  }
}

function card({ id, name, people: count, created_at: created }: ModelSummary): HTMLElement {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#models/${id}` },
      h("img", { src: address(`/models/${id}/picture.jpg`), alt: "", loading: "lazy" }),
      h("span", { class: "card-name" }, name || "Model"),
      h("span", { class: "soft small" }, `${people(count)} · ${day(created)}`),
    ),
  );
}
