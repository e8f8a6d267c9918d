/** The models view: upload pictures, and the models that came of them. */

import type { App, View } from "../shell/app.ts";
import { explain, RequestError } from "../shell/api.ts";
import { fill, h, icon, setText } from "../shell/dom.ts";
import { day, people } from "../live/units.ts";
import type { Status } from "../protocol/messages.ts";
import type { Model, ModelSummary } from "./types.ts";
import { isPicture, isZip } from "./pictures.ts";
import { UploadQueue } from "./queue.ts";
import { upload } from "./upload.ts";
import type { ModelViewer } from "./viewer.ts";

/** receiver/web/pictures.py names the stages. */
const STAGES: readonly [key: string, name: string][] = [
  ["queue", "Waiting"],
  ["perception", "Finding people"],
  ["link", "Sending labels"],
  ["reconstruction", "Building meshes"],
  ["files", "Saving files"],
];

const STARTING = "Starting the recogniser, a few seconds";

export class ModelsView implements View {
  readonly #app: App;
  readonly #element: HTMLElement;
  readonly #input = h("input", {
    type: "file",
    accept: "image/*,.heic,.heif,.avif,.zip",
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
  readonly #progress = h("ol", { class: "progress", "aria-live": "polite", hidden: true });
  readonly #list = h("ul", { class: "gallery" });
  readonly #drop = h("div", { class: "drop" });
  readonly #home = h("div", { class: "page" });
  readonly #queue: UploadQueue;
  #viewer: ModelViewer | null = null;
  #busy = false;
  #shown = false;

  constructor(app: App, element: HTMLElement) {
    this.#app = app;
    this.#element = element;
    this.#queue = new UploadQueue(
      app.api,
      new Map([["upload", "Uploading"], ["starting", STARTING], ...STAGES]),
      () => void this.#reload(),
    );
    this.#makeDrop();
    element.append(this.#home);
    addEventListener("hashchange", () => this.#route());
    app.onStatus((status) => this.#showFor(status));
  }

  show(): void {
    this.#shown = true;
    void this.#app.refresh();
  }

  hide(): void {
    this.#shown = false;
    this.#closeViewer();
  }

  key(event: KeyboardEvent): boolean {
    return this.#viewer?.key(event) ?? false;
  }

  #showFor(status: Status): void {
    if (!this.#shown) return;
    if (!status.accounts || !status.pictures) {
      fill(
        this.#home,
        h("h1", {}, "Models"),
        h("p", { class: "soft" }, "This receiver makes no models of pictures. Start it with accounts to allow it."),
      );
    } else if (status.account === null) {
      fill(
        this.#home,
        h("h1", {}, "A model of a photograph"),
        h(
          "p",
          { class: "soft" },
          "Choose a photograph of people and get them as 3D meshes to turn and download. Models belong to an account.",
        ),
        h("a", { class: "button primary", href: "#account" }, status.sign_up ? "Sign in or sign up" : "Sign in"),
      );
    } else {
      fill(
        this.#home,
        h("h1", {}, "Models"),
        this.#drop,
        this.#progress,
        this.#queue.element,
        this.#message,
        this.#list,
      );
      void this.#reload();
      this.#route();
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
        h("span", { class: "soft" }, "or a ZIP, or paste one"),
      ),
      h(
        "div",
        { class: "drop-actions" },
        choose("Choose pictures", this.#input, "primary"),
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
      if (this.#shown && this.#app.status?.account) this.#chosen(event.clipboardData?.files ?? null);
    });
  }

  #chosen(files: FileList | null): void {
    // A copy: the list is emptied with its control.
    const chosen = [...(files ?? [])];
    const [file] = chosen;
    this.#message.textContent = "";
    if (!file) return;
    if (chosen.length > 1 || isZip(file) || this.#queue.isBusy) void this.#queue.add(chosen);
    else if (!isPicture(file))
      this.#message.textContent = "This is not a picture. Choose a JPEG, PNG, WebP, HEIC, AVIF or GIF file.";
    else if (!this.#busy) void this.#upload(file);
    this.#input.value = this.#camera.value = "";
  }

  async #upload(file: File): Promise<void> {
    this.#setBusy(true);
    this.#stage("upload");
    try {
      const model = await upload(this.#app.api, file, file.name || "picture", (stage) => this.#stage(stage));
      await this.#reload();
      location.hash = `models/${model.id}`;
    } catch (error) {
      this.#message.textContent = explain(error);
      if (error instanceof RequestError && error.status === 401) void this.#app.refresh();
    } finally {
      this.#setBusy(false);
    }
  }

  #setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#progress.hidden = !busy;
    this.#drop.classList.toggle("busy", busy);
    for (const button of this.#drop.querySelectorAll("button")) button.disabled = busy;
  }

  #stage(stage: string): void {
    const steps = [["upload", "Uploading"], ...STAGES] as const;
    const starting = stage === "starting";
    const now = steps.findIndex(([key]) => key === (starting ? "queue" : stage));
    fill(
      this.#progress,
      ...steps.map(([, name], step) =>
        h(
          "li",
          { class: step < now ? "done" : step === now ? "now" : "next", "aria-current": step === now ? "step" : null },
          starting && step === now ? STARTING : name,
        ),
      ),
    );
  }

  async #reload(): Promise<void> {
    try {
      const { models } = await this.#app.api.get<{ models: ModelSummary[] }>("/api/models");
      fill(this.#list, ...models.map(card));
    } catch (error) {
      setText(this.#message, explain(error));
    }
  }

  #route(): void {
    const [view, id] = location.hash.slice(1).split("/");
    if (!this.#shown || view !== "models") return;
    if (id && this.#app.status?.account) void this.#open(id);
    else this.#closeViewer();
  }

  async #open(id: string): Promise<void> {
    try {
      const [model, { ModelViewer }] = await Promise.all([
        this.#app.api.get<Model>(`/api/models/${encodeURIComponent(id)}`),
        import("./viewer.ts"),
      ]);
      this.#closeViewer();
      const home = () => (location.hash = "models");
      this.#viewer = new ModelViewer(this.#app, model, { closed: home, deleted: () => void (home(), this.#reload()) });
      this.#home.hidden = true;
      this.#element.append(this.#viewer.element);
    } catch (error) {
      location.hash = "models";
      this.#app.fail(error);
    }
  }

  #closeViewer(): void {
    this.#viewer?.close();
    this.#viewer = null;
    this.#home.hidden = false;
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
