/** Uploads many pictures and clips, some at a time; one that fails does not stop the others. */

import type { App } from "../shell/app.ts";
import { explain, RequestError } from "../shell/api.ts";
import { fill, h, iconButton, setText } from "../shell/dom.ts";
import { fileSize } from "../live/units.ts";
import { kindOf, type Kind } from "./files.ts";
import { upload } from "./upload.ts";

const AT_ONCE = 2;
/** The receiver is busy: a file waits and tries again. */
const BUSY = [429, 503];
const TRIES = 20;
const PAUSE_MS = 3e3;

/** What the stages of an upload are called; receiver/web/pictures.py and library/clips.py name them. */
const STAGES = new Map([
  ["upload", "Uploading"],
  ["queue", "Waiting"],
  ["starting", "Starting the recogniser, a few seconds"],
  ["perception", "Finding people"],
  ["reconstruction", "Building meshes"],
  ["clip", "Building meshes"],
  ["files", "Saving files"],
]);

interface Entry {
  file: File;
  kind: Kind | null;
  row: HTMLElement;
  state: HTMLElement;
  abort: AbortController;
  cancel: HTMLButtonElement;
}

export class UploadQueue {
  readonly element: HTMLElement;
  readonly #app: App;
  readonly #done: (opened: string | null) => void;
  readonly #summary = h("p", { role: "status" });
  readonly #bar = h("progress", { max: 1, value: 0, "aria-label": "Files that are done" });
  readonly #list = h("ul", { class: "queue-list", tabindex: 0, "aria-label": "Files" });
  readonly #waiting: Entry[] = [];
  #total = 0;
  #made = 0;
  #failed = 0;
  #working = 0;

  /** @param done is called after each file; with the address of what came of it, if it was the only one. */
  constructor(app: App, done: (opened: string | null) => void) {
    this.#app = app;
    this.#done = done;
    const attributes = { class: "card queue", hidden: true, "aria-label": "Uploads" };
    this.element = h("section", attributes, this.#summary, this.#bar, this.#list);
  }

  /** Adds pictures and clips. @param kind what all of them are, if that is known: an image that moves may be a clip. */
  add(files: Iterable<File>, kind?: Kind): void {
    // A copy: lists are emptied with their control.
    const added = [...files];
    if (added.length === 0) return;
    if (this.#working + this.#waiting.length === 0) this.#clear();
    for (const file of added) this.#enter(file, kindOf(file) && (kind ?? kindOf(file)));
    this.#refresh();
    while (this.#working < AT_ONCE && this.#waiting.length > 0) void this.#work();
  }

  #clear(): void {
    fill(this.#list);
    this.#total = this.#made = this.#failed = 0;
  }

  #enter(file: File, kind: Kind | null): void {
    const entry = this.#row(file, kind);
    const largest = kind === "clip" ? this.#app.status?.limits.clip_bytes : this.#app.status?.limits.picture_bytes;
    if (kind === null) this.#fail(entry, "This is neither a picture nor a clip. Unpack archives first.");
    else if (largest && file.size > largest) this.#fail(entry, `This is larger than ${fileSize(largest)}.`);
    else this.#waiting.push(entry);
  }

  #row(file: File, kind: Kind | null): Entry {
    const state = h("span", { class: "soft small" }, "Waiting");
    const abort = new AbortController();
    const cancel = iconButton("close", `Cancel ${file.name}`, () => this.#cancel(entry));
    const name = h("span", { class: "card-name grow" }, file.name);
    const row = h("li", { class: "row", "data-state": "waiting" }, name, state, cancel);
    const entry = { file, kind, row, state, abort, cancel };
    this.#list.append(row);
    this.#total += 1;
    return entry;
  }

  #cancel(entry: Entry): void {
    entry.abort.abort();
    const place = this.#waiting.indexOf(entry);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      this.#fail(entry, "Cancelled");
      this.#refresh();
    }
  }

  async #work(): Promise<void> {
    this.#working += 1;
    for (let entry = this.#waiting.shift(); entry; entry = this.#waiting.shift()) {
      entry.row.dataset["state"] = "working";
      this.#refresh();
      const href = await this.#upload(entry);
      this.#refresh();
      this.#done(this.#total === 1 ? href : null);
    }
    this.#working -= 1;
    this.#refresh();
  }

  /** Returns the address of what came of a file; null if that failed. */
  async #upload(entry: Entry): Promise<string | null> {
    const { file, row, state, abort, cancel } = entry;
    const kind = entry.kind!;
    const stage = (name: string, done?: number) => {
      // A picture that has arrived becomes a model in any case.
      cancel.hidden = kind === "picture" && name !== "upload";
      const share = done === undefined || done >= 1 ? "" : `, ${Math.round(100 * done)} %`;
      setText(state, `${STAGES.get(name) ?? name}${share}`);
    };
    for (let attempt = 1; ; attempt++) {
      stage("upload");
      try {
        const { model, session } = await upload(this.#app.api, file, kind, stage, abort.signal);
        const href = model ? `#models/${model.id}` : `#sessions/${session!.number}`;
        const warnings = (model ?? session)!.warnings;
        row.dataset["state"] = "done";
        fill(state, h("a", { href, "aria-label": `Open ${file.name}` }, "Open"), ` ${warnings.join("; ")}`);
        if (warnings.length > 0) this.#app.say(`${file.name}: ${warnings.join("; ")}`);
        cancel.remove();
        this.#made += 1;
        return href;
      } catch (error) {
        const busy = error instanceof RequestError && BUSY.includes(error.status) && !abort.signal.aborted;
        if (!busy || attempt === TRIES) {
          this.#fail(entry, abort.signal.aborted ? "Cancelled" : explain(error));
          if (error instanceof RequestError && error.status === 401) void this.#app.refresh();
          return null;
        }
        setText(state, "Waiting for the receiver");
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }

  #fail({ row, state, cancel }: Entry, text: string): void {
    row.dataset["state"] = "failed";
    setText(state, text);
    cancel.remove();
    this.#failed += 1;
  }

  #refresh(): void {
    this.element.hidden = this.#total === 0;
    const ended = this.#made + this.#failed;
    const failed = this.#failed > 0 ? `, ${this.#failed} failed` : "";
    setText(this.#summary, `${this.#made} of ${this.#total} files done${failed}`);
    this.#bar.value = ended / Math.max(1, this.#total);
  }
}
