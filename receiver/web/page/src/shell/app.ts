/** What the views share. */

import type { Status } from "../protocol/messages.ts";
import { Api, explain } from "./api.ts";
import { setText } from "./dom.ts";
import { ThemeControl } from "./preferences.ts";

export type StateKind = "live" | "waiting" | "connecting" | "bad" | "idle";

/** One of the views; it works only while it is shown. */
export interface View {
  show(): void;
  hide(): void;
  /** Handles a key that nothing else took; returns whether it did. */
  key?(event: KeyboardEvent): boolean;
}

const TOAST_MS = 6e3;

export class App {
  readonly api = new Api();
  readonly theme = new ThemeControl();
  readonly #listeners: ((status: Status) => void)[] = [];
  readonly #state = document.getElementById("state")!;
  readonly #toast = document.getElementById("toast")!;
  #status: Status | null = null;
  #toastTimer: ReturnType<typeof setTimeout> | undefined;

  get status(): Status | null {
    return this.#status;
  }

  /** Asks the receiver who we are and what it offers. */
  async refresh(): Promise<void> {
    try {
      this.#status = await this.api.status();
    } catch (error) {
      this.state("bad", explain(error));
      return;
    }
    for (const listener of this.#listeners) listener(this.#status);
  }

  /** Calls the listener with the status now, if it is known, and whenever it is read again. */
  onStatus(listener: (status: Status) => void): void {
    this.#listeners.push(listener);
    if (this.#status) listener(this.#status);
  }

  /** Shows the state of the live stream in the header, or with an empty text none. */
  state(kind: StateKind, text: string): void {
    this.#state.dataset["state"] = kind;
    this.#state.title = text;
    this.#state.hidden = text === "";
    setText(this.#state.querySelector(".pill-text")!, text.length > 40 ? "Not connected" : text);
  }

  /** Shows a sentence for some seconds; screen readers read it. */
  say(text: string): void {
    setText(this.#toast, text);
    this.#toast.classList.add("shown");
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => this.#toast.classList.remove("shown"), TOAST_MS);
  }

  /** Copies a text, and says so on the button. */
  async copy(text: string, button: HTMLButtonElement): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      this.say("The browser does not allow copying. Select the text and copy it by hand.");
    }
  }

  fail(error: unknown): void {
    this.say(explain(error));
  }
}
