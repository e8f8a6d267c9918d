/** A view with a list, and one thing of it at a time that is opened by the address `#NAME/ID`. */

import type { Status } from "../protocol/messages.ts";
import type { App, View } from "./app.ts";
import { h } from "./dom.ts";

/** What is opened in the place of the list. */
export interface Detail {
  readonly element: HTMLElement;
  key(event: KeyboardEvent): boolean;
  close(): void;
}

export abstract class DetailView implements View {
  protected readonly app: App;
  protected readonly home = h("div", { class: "page" });
  protected isShown = false;
  readonly #element: HTMLElement;
  #detail: Detail | null = null;
  /** Numbers what is opened, so that what was closed meanwhile does not appear. */
  #opened = 0;

  constructor(app: App, element: HTMLElement) {
    this.app = app;
    this.#element = element;
    element.append(this.home);
    addEventListener("hashchange", () => this.route());
    app.onStatus((status) => this.isShown && this.fillHome(status));
  }

  show(): void {
    this.isShown = true;
    void this.app.refresh();
    this.route();
  }

  hide(): void {
    this.isShown = false;
    this.#close();
  }

  key(event: KeyboardEvent): boolean {
    return this.#detail?.key(event) ?? false;
  }

  /** Fills the list for who is signed in now. */
  protected abstract fillHome(status: Status): void;

  /** Loads what an address of this view names; null if that is the list. */
  protected abstract load(view: string, id: string): Promise<Detail> | null;

  /** What could not be opened. */
  protected abstract refused(error: unknown): void;

  /** Shows what the address names. */
  protected route(): void {
    if (!this.isShown) return;
    const [view = "", id = ""] = location.hash.slice(1).split("/");
    const loading = this.load(view, id);
    if (loading) void this.#open(loading);
    else this.#close();
  }

  async #open(loading: Promise<Detail>): Promise<void> {
    const number = ++this.#opened;
    try {
      const detail = await loading;
      if (number !== this.#opened) {
        detail.close();
        return;
      }
      this.#detail?.close();
      this.#detail = detail;
      this.home.hidden = true;
      this.#element.append(detail.element);
    } catch (error) {
      if (number !== this.#opened) return;
      this.#close();
      this.refused(error);
    }
  }

  #close(): void {
    this.#opened += 1;
    this.#detail?.close();
    this.#detail = null;
    this.home.hidden = false;
  }
}
