/** Uploads many pictures, some at a time; one that fails does not stop the others. */

import type { Api } from "../shell/api.ts";
import { explain, RequestError } from "../shell/api.ts";
import { fill, h, setText } from "../shell/dom.ts";
import { isPicture, isZip, picturesIn } from "./pictures.ts";
import { upload } from "./upload.ts";

const AT_ONCE = 2;
/** The receiver is busy: a picture waits and tries again. */
const BUSY = [429, 503];
const TRIES = 20;
const PAUSE_MS = 3e3;

interface Entry {
  file: File;
  row: HTMLElement;
  state: HTMLElement;
}

export class UploadQueue {
  readonly element: HTMLElement;
  readonly #api: Api;
  readonly #stages: ReadonlyMap<string, string>;
  readonly #done: () => void;
  readonly #summary = h("p", { role: "status" });
  readonly #bar = h("progress", { max: 1, value: 0, "aria-label": "Pictures that are done" });
  readonly #list = h("ul", { class: "queue-list", tabindex: 0, "aria-label": "Pictures" });
  readonly #waiting: Entry[] = [];
  #total = 0;
  #made = 0;
  #failed = 0;
  #working = 0;

  /**
   * @param stages the names of the receiver's stages.
   * @param done is called after each picture.
   */
  constructor(api: Api, stages: ReadonlyMap<string, string>, done: () => void) {
    this.#api = api;
    this.#stages = stages;
    this.#done = done;
    const head = h("div", { class: "queue-head" }, this.#summary, this.#bar);
    this.element = h("section", { class: "card queue", hidden: true, "aria-label": "Uploads" }, head, this.#list);
  }

  get isBusy(): boolean {
    return this.#working + this.#waiting.length > 0;
  }

  /** Adds pictures, and those in ZIPs. */
  async add(files: Iterable<File>): Promise<void> {
    if (!this.isBusy) this.#clear();
    for (const file of files) {
      if (!isZip(file)) this.#enter(file);
      else {
        try {
          const found = await picturesIn(file);
          for (const picture of found) this.#enter(picture);
          if (found.length === 0) this.#fail(this.#row(file), "There is no picture in this ZIP.");
        } catch (error) {
          this.#fail(this.#row(file), explain(error));
        }
      }
    }
    this.#refresh();
    while (this.#working < AT_ONCE && this.#waiting.length > 0) void this.#work();
  }

  #clear(): void {
    fill(this.#list);
    this.#total = this.#made = this.#failed = 0;
  }

  #enter(file: File): void {
    const entry = this.#row(file);
    if (isPicture(file)) this.#waiting.push(entry);
    else this.#fail(entry, "This is not a picture.");
  }

  #row(file: File): Entry {
    const state = h("span", { class: "soft small" }, "Waiting");
    const row = h("li", { "data-state": "waiting" }, h("span", { class: "card-name" }, file.name), state);
    this.#list.append(row);
    this.#total += 1;
    return { file, row, state };
  }

  async #work(): Promise<void> {
    this.#working += 1;
    for (let entry = this.#waiting.shift(); entry; entry = this.#waiting.shift()) {
      entry.row.dataset["state"] = "working";
      this.#refresh();
      await this.#upload(entry);
      this.#refresh();
      this.#done();
    }
    this.#working -= 1;
    this.#refresh();
  }

  async #upload(entry: Entry): Promise<void> {
    const { file, row, state } = entry;
    const stage = (name: string) => setText(state, this.#stages.get(name) ?? name);
    for (let attempt = 1; ; attempt++) {
      stage("upload");
      try {
        const model = await upload(this.#api, file, file.name, stage);
        row.dataset["state"] = "done";
        fill(state, h("a", { href: `#models/${model.id}`, "aria-label": `Open ${file.name}` }, "Open"));
        this.#made += 1;
        return;
      } catch (error) {
        const busy = error instanceof RequestError && BUSY.includes(error.status);
        if (!busy || attempt === TRIES) {
          this.#fail(entry, explain(error));
          return;
        }
        setText(state, "Waiting for the receiver");
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }

  #fail({ row, state }: Entry, text: string): void {
    row.dataset["state"] = "failed";
    setText(state, text);
    this.#failed += 1;
  }

  #refresh(): void {
    this.element.hidden = this.#total === 0;
    const ended = this.#made + this.#failed;
    const failed = this.#failed > 0 ? `, ${this.#failed} failed` : "";
    setText(this.#summary, `${this.#made} of ${this.#total} pictures done${failed}`);
    this.#bar.value = ended / Math.max(1, this.#total);
  }
}
