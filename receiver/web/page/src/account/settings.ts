/** What an account can change of itself: its password, the browsers that are signed in, and whether it exists. */

import type { App } from "../shell/app.ts";
import { explain } from "../shell/api.ts";
import { fill, h } from "../shell/dom.ts";
import { openDialog } from "../shell/shortcuts.ts";
import { day } from "../live/units.ts";

interface Use {
  created_at: string;
  models: number;
  clips: number;
  models_allowed: number;
}

interface Browser {
  id: string;
  created_at: string;
  used_at: string;
  current: boolean;
}

/** A labelled field of a form. */
export function field(label: string, attributes: Record<string, unknown>): HTMLElement {
  const id = `field-${String(attributes["name"])}`;
  return h("div", { class: "field" }, h("label", { for: id }, label), h("input", { id, ...attributes }));
}

/** A field for a password that does not exist yet. */
export function newPassword(name: string): HTMLElement {
  const attributes = { name, type: "password", autocomplete: "new-password", required: true };
  return field("New password", { ...attributes, minlength: 10, maxlength: 256 });
}

export class AccountSettings {
  readonly use = h("p", { class: "soft" });
  readonly elements: readonly HTMLElement[];
  readonly #app: App;
  readonly #browsers = h("ul", { class: "browsers" });
  readonly #said = h("p", { class: "notice", role: "status" });
  readonly #message = h("p", { class: "notice bad", role: "alert" });

  constructor(app: App) {
    this.#app = app;
    const others = () => void this.#attempt(() => this.#end("/api/browsers"));
    const kept = "With all its models, clips, tokens and links, and the sessions of its browsers’ cameras.";
    const button = (text: string, style: string, onclick: () => void) =>
      h("div", {}, h("button", { type: "button", class: `button ${style}`, onclick }, text));
    this.elements = [
      h("section", { class: "card" }, h("h2", {}, "Password"), this.#passwordForm()),
      h(
        "section",
        { class: "card" },
        h("h2", {}, "Browsers that are signed in"),
        this.#browsers,
        button("Sign all others out", "", others),
      ),
      h(
        "section",
        { class: "card" },
        h("h2", {}, "Delete the account"),
        h("p", { class: "soft" }, kept),
        button("Delete the account…", "danger", () => this.#askToDelete()),
      ),
    ];
  }

  async reload(): Promise<void> {
    await this.#attempt(async () => {
      const [use, { browsers }] = await Promise.all([
        this.#app.api.get<Use>("/api/account"),
        this.#app.api.get<{ browsers: Browser[] }>("/api/browsers"),
      ]);
      const { models, clips, models_allowed: allowed, created_at: created } = use;
      this.use.textContent = `${models + clips} of ${allowed} models and clips used. Account made ${day(created)}.`;
      fill(this.#browsers, ...browsers.map((browser) => this.#row(browser)));
    });
  }

  #passwordForm(): HTMLElement {
    const form = h(
      "form",
      { class: "form" },
      field("Current password", { name: "old", type: "password", autocomplete: "current-password", required: true }),
      newPassword("new"),
      this.#said,
      this.#message,
      h("div", { class: "form-actions" }, h("button", { type: "submit", class: "button" }, "Change the password")),
    );
    const change = async () => {
      this.#said.textContent = "";
      await this.#app.api.post("/api/password", Object.fromEntries(new FormData(form)), "PUT");
      form.reset();
      await this.#app.refresh();
      this.#said.textContent = "The password is changed. Other browsers have to sign in again.";
      await this.reload();
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#attempt(change);
    });
    return form;
  }

  #row({ id, created_at: created, used_at: used, current }: Browser): HTMLElement {
    const text = current ? "This browser" : `Last used ${day(used)}`;
    const attributes = {
      type: "button",
      class: "button compact danger",
      "aria-label": `Sign out the browser of ${day(created)}`,
      onclick: () => void this.#attempt(() => this.#end(`/api/browsers/${id}`)),
    };
    const since = h("span", { class: "soft small" }, ` since ${day(created)}`);
    return h("li", {}, h("span", {}, text, since), !current && h("button", attributes, "Sign out"));
  }

  async #end(path: string): Promise<void> {
    await this.#app.api.delete(path);
    await this.reload();
  }

  #askToDelete(): void {
    const message = h("p", { class: "notice bad", role: "alert" });
    const form = h(
      "form",
      { class: "form" },
      h("p", {}, "Nothing of it is left on the receiver. This cannot be undone."),
      field("Password", { name: "password", type: "password", autocomplete: "current-password", required: true }),
      message,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: "button danger" }, "Delete"),
      ),
    );
    const dialog = openDialog("Delete the account?", form);
    const remove = async () => {
      await this.#app.api.post("/api/account", Object.fromEntries(new FormData(form)), "DELETE");
      dialog.close();
      await this.#app.refresh();
      this.#app.say("The account is deleted.");
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      remove().catch((error: unknown) => (message.textContent = explain(error)));
    });
  }

  async #attempt(action: () => Promise<void>): Promise<void> {
    try {
      this.#message.textContent = "";
      await action();
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }
}
