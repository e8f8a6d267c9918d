/** What an account can change of itself: its tokens, its password, and whether it exists. */

import type { App } from "../shell/app.ts";
import { button, fill, h } from "../shell/dom.ts";
import { confirmDialog, openDialog } from "../shell/shortcuts.ts";
import { day, quoted } from "../live/units.ts";
import { field, form, hiddenName, passwordField, submitButton, type Values } from "./form.ts";

interface Use {
  created_at: string;
  models: number;
  clips: number;
  models_allowed: number;
}

interface Token {
  id: string;
  label: string;
  created_at: string;
  used_at: string | null;
}

export class AccountSettings {
  readonly elements: readonly HTMLElement[];
  readonly #app: App;
  readonly #account: string;
  readonly #use = h("p", { class: "soft" });
  readonly #fresh = h("div", { class: "fresh", "aria-live": "polite" });
  readonly #tokens = h("ul", { class: "tokens" });

  constructor(app: App, account: string) {
    this.#app = app;
    this.#account = account;
    const signOut = button("Sign out", "", () => void this.#attempt(() => this.#signOut()));
    const askToDelete = button("Delete the account…", "danger", () => this.#askToDelete());
    this.elements = [
      h("header", { class: "page-head row" }, h("div", {}, h("h1", {}, account), this.#use), signOut),
      this.#tokenCard(),
      h("section", { class: "card" }, h("h2", {}, "Password"), this.#passwordForm()),
      h(
        "section",
        { class: "card" },
        h("h2", {}, "Delete the account"),
        h("p", { class: "soft" }, "With all its models, clips and tokens, and the sessions of its browsers’ cameras."),
        h("div", {}, askToDelete),
      ),
    ];
    void this.reload();
  }

  /** Takes away the token that was just made. */
  hideSecret(): void {
    this.#fresh.replaceChildren();
  }

  async reload(): Promise<void> {
    await this.#attempt(async () => {
      const [use, { tokens }] = await Promise.all([
        this.#app.api.get<Use>("/api/account"),
        this.#app.api.get<{ tokens: Token[] }>("/api/tokens"),
      ]);
      const { models, clips, models_allowed: allowed, created_at: created } = use;
      this.#use.textContent = `${models + clips} of ${allowed} models and clips used. Account made ${day(created)}.`;
      fill(this.#tokens, ...tokens.map((token) => this.#row(token)));
    });
  }

  #tokenCard(): HTMLElement {
    const attributes = { name: "label", maxlength: 64, placeholder: "for example: laptop" };
    const make = form([field("Name of the new token", attributes)], [submitButton("Make a token")], (values) =>
      this.#makeToken(values).then(() => make.reset()),
    );
    return h(
      "section",
      { class: "card" },
      h("h2", {}, "Tokens"),
      h(
        "p",
        { class: "soft" },
        "Programs send a token instead of a password: ",
        h("code", {}, "Authorization: Bearer TOKEN"),
        ". The ",
        h("a", { href: "docs" }, "programming interface"),
        " lists what they may ask.",
      ),
      this.#fresh,
      this.#tokens,
      make,
    );
  }

  async #makeToken(values: Values): Promise<void> {
    const { token, label } = await this.#app.api.post<{ token: string; label: string }>("/api/tokens", values);
    const copy = button("Copy", "compact", () => void this.#app.copy(token, copy));
    fill(
      this.#fresh,
      h("p", {}, h("strong", {}, `Token ${quoted(label)}. `), "Copy it now: it is not shown again."),
      h("div", { class: "row" }, h("code", { class: "token", tabindex: 0 }, token), copy),
    );
    await this.reload();
  }

  #row(token: Token): HTMLElement {
    const used = token.used_at === null ? "never used" : `used ${day(token.used_at)}`;
    const about = h("span", { class: "soft small" }, ` made ${day(token.created_at)}, ${used}`);
    const revoke = button("Revoke", "compact danger", () => void this.#revoke(token));
    revoke.setAttribute("aria-label", `Revoke ${token.label}`);
    return h("li", { class: "row" }, h("span", { class: "grow" }, token.label, about), revoke);
  }

  async #revoke({ id, label }: Token): Promise<void> {
    const text = `Programs that use ${quoted(label)} are refused from now on.`;
    if (!(await confirmDialog("Revoke this token?", text, "Revoke"))) return;
    await this.#attempt(() => this.#app.api.delete(`/api/tokens/${id}`));
    this.hideSecret();
    await this.reload();
  }

  #passwordForm(): HTMLElement {
    const fields = [
      hiddenName(this.#account),
      passwordField("Current password", "old", "current-password"),
      passwordField("New password", "new", "new-password"),
    ];
    const element = form(fields, [submitButton("Change the password")], async (values) => {
      await this.#app.api.post("/api/password", values, "PUT");
      element.reset();
      await this.#app.refresh();
      return "The password is changed. Other browsers have to sign in again.";
    });
    return element;
  }

  #askToDelete(): void {
    const fields = [
      hiddenName(this.#account),
      h("p", {}, "Nothing of it is left on the receiver. This cannot be undone."),
      passwordField("Password", "password", "current-password"),
    ];
    const cancel = button("Cancel", "", () => dialog.close());
    const content = form(fields, [cancel, submitButton("Delete", "danger")], async (values) => {
      await this.#app.api.post("/api/account", values, "DELETE");
      dialog.close();
      await this.#app.refresh();
      this.#app.say("The account is deleted.");
    });
    const dialog = openDialog("Delete the account?", content);
  }

  async #signOut(): Promise<void> {
    await this.#app.api.delete("/api/session");
    await this.#app.refresh();
  }

  async #attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#app.fail(error);
    }
  }
}
