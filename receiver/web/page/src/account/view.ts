/** The account view: signing up, in and out, and tokens for programs. */

import type { App, View } from "../shell/app.ts";
import { explain } from "../shell/api.ts";
import { confirmDialog } from "../shell/shortcuts.ts";
import { fill, h } from "../shell/dom.ts";
import type { Status } from "../protocol/messages.ts";
import { day } from "../live/units.ts";
import { AccountSettings, field, newPassword } from "./settings.ts";

interface Token {
  id: string | number;
  label: string;
  created_at: string;
  used_at: string | null;
}

export class AccountView implements View {
  readonly #app: App;
  readonly #page = h("div", { class: "page narrow" });
  readonly #message = h("p", { class: "notice bad", role: "alert" });
  readonly #fresh = h("div", { class: "fresh", "aria-live": "polite" });
  readonly #tokens = h("ul", { class: "tokens" });
  readonly #settings: AccountSettings;
  #shownFor: string | undefined;

  constructor(app: App, element: HTMLElement) {
    this.#app = app;
    this.#settings = new AccountSettings(app);
    element.append(this.#page);
    app.onStatus((status) => this.#showFor(status));
    addEventListener("hashchange", () => this.#app.status && this.#showFor(this.#app.status));
  }

  show(): void {
    void this.#app.refresh();
    if (this.#app.status?.account) void this.#settings.reload();
  }

  hide(): void {
    this.#fresh.replaceChildren();
    this.#message.textContent = "";
  }

  #showFor(status: Status): void {
    const [view, secret] = location.hash.slice(1).split("/");
    const reset = view === "reset" && secret ? secret : null;
    const forgotten = view === "forgotten" && status.mail && status.account === null;
    const key = JSON.stringify([status.sign_up, status.mail, status.account, reset, forgotten]);
    if (key === this.#shownFor) return;
    this.#shownFor = key;
    this.#message.textContent = "";
    this.#fresh.replaceChildren();
    if (reset !== null) this.#showReset(reset);
    else if (forgotten) this.#showForgotten();
    else if (status.account === null) this.#showSignedOut(status);
    else this.#showSignedIn(status.account);
  }

  #showSignedOut(status: Status): void {
    const name = field("Name", {
      name: "name",
      autocomplete: "username",
      required: true,
      autocapitalize: "none",
      spellcheck: "false",
    });
    const password = field("Password", {
      name: "password",
      type: "password",
      autocomplete: "current-password",
      required: true,
    });
    const form = h(
      "form",
      { class: "form" },
      name,
      password,
      this.#message,
      h(
        "div",
        { class: "form-actions" },
        h("button", { type: "submit", class: "button primary", value: "/api/session" }, "Sign in"),
        status.sign_up && h("button", { type: "submit", class: "button", value: "/api/accounts" }, "Sign up"),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const path = (event.submitter as HTMLButtonElement | null)?.value ?? "/api/session";
      void this.#enter(form, path);
    });
    const hint = status.sign_up
      ? "Sign in, or choose a name and a password to sign up."
      : "Accounts are made where the receiver runs: receiver accounts add NAME.";
    const forgotten = h(
      "p",
      { class: "soft small" },
      ...(status.mail
        ? ["Forgotten the password? ", h("a", { href: "#forgotten" }, "Get a link for another one by mail"), "."]
        : [
            "Forgotten the password? Who runs the receiver makes a link for another one: ",
            h("code", {}, "receiver accounts reset NAME"),
            ".",
          ]),
    );
    fill(this.#page, h("h1", {}, "Account"), h("p", { class: "soft" }, hint), form, forgotten);
  }

  #showForgotten(): void {
    const name = field("Mail address, if it is your account's name", {
      name: "name",
      type: "email",
      autocomplete: "username",
      required: true,
    });
    const button = h("button", { type: "submit", class: "button primary" }, "Send a link");
    const back = h("a", { class: "button", href: "#account" }, "Back");
    const form = h("form", { class: "form" }, name, this.#message, h("div", { class: "form-actions" }, button, back));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#attempt(form, async () => {
        await this.#app.api.post("/api/password/forgotten", Object.fromEntries(new FormData(form)));
        const sent = "If there is an account of this name, a mail with a link is on its way. It is valid for a day.";
        fill(this.#page, h("h1", {}, "Look into your mail"), h("p", { role: "status" }, sent));
      });
    });
    fill(this.#page, h("h1", {}, "Forgotten password"), form);
  }

  /** @param secret of a link by mail, or of `receiver accounts reset`. */
  #showReset(secret: string): void {
    const button = h("button", { type: "submit", class: "button primary" }, "Set the password");
    const actions = h("div", { class: "form-actions" }, button);
    const form = h("form", { class: "form" }, newPassword("password"), this.#message, actions);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#attempt(form, async () => {
        await this.#app.api.post("/api/password", { secret, ...Object.fromEntries(new FormData(form)) });
        // Who was signed in is no longer.
        await this.#app.refresh();
        location.hash = "account";
        this.#app.say("The password is set. Sign in with it.");
      });
    });
    fill(this.#page, h("h1", {}, "Set a new password"), form);
  }

  async #enter(form: HTMLFormElement, path: string): Promise<void> {
    const values = Object.fromEntries(new FormData(form));
    await this.#attempt(form, async () => {
      await this.#app.api.post(path, values);
      await this.#app.refresh();
    });
  }

  #showSignedIn(account: string): void {
    const label = field("Name of the new token", {
      name: "label",
      required: true,
      maxlength: 80,
      placeholder: "for example: laptop",
    });
    const form = h(
      "form",
      { class: "form row" },
      label,
      h("button", { type: "submit", class: "button" }, "Make a token"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#makeToken(form);
    });
    const signOut = h("button", { type: "button", class: "button", onclick: () => void this.#signOut() }, "Sign out");
    fill(
      this.#page,
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, account), this.#settings.use), signOut),
      h(
        "section",
        { class: "card" },
        h("h2", {}, "Tokens"),
        h(
          "p",
          { class: "soft" },
          "Programs send a token instead of a password: ",
          h("code", {}, "Authorization: Bearer TOKEN"),
          ". The ",
          h("a", { href: "/docs" }, "programming interface"),
          " lists what they may ask.",
        ),
        this.#fresh,
        this.#tokens,
        form,
        this.#message,
      ),
      ...this.#settings.elements,
    );
    void this.#listTokens();
    void this.#settings.reload();
  }

  async #signOut(): Promise<void> {
    await this.#attempt(this.#page, async () => {
      await this.#app.api.delete("/api/session");
      await this.#app.refresh();
    });
  }

  async #makeToken(form: HTMLFormElement): Promise<void> {
    await this.#attempt(form, async () => {
      const made = await this.#app.api.post<{ token: string; label: string }>(
        "/api/tokens",
        Object.fromEntries(new FormData(form)),
      );
      form.reset();
      const value = h("code", { class: "token", tabindex: 0 }, made.token);
      const copy = h(
        "button",
        { type: "button", class: "button compact", onclick: () => void this.#app.copy(made.token, copy) },
        "Copy",
      );
      fill(
        this.#fresh,
        h("p", {}, h("strong", {}, `Token “${made.label}”. `), "Copy it now: it is not shown again."),
        h("div", { class: "token-row" }, value, copy),
      );
      await this.#listTokens();
    });
  }

  async #listTokens(): Promise<void> {
    await this.#attempt(this.#tokens, async () => {
      const answer = await this.#app.api.get<{ tokens: Token[] }>("/api/tokens");
      const rows = answer.tokens.map((token) =>
        h(
          "li",
          {},
          h(
            "span",
            {},
            token.label,
            h(
              "span",
              { class: "soft small" },
              ` made ${day(token.created_at)}, ${token.used_at === null ? "never used" : `used ${day(token.used_at)}`}`,
            ),
          ),
          h(
            "button",
            {
              type: "button",
              class: "button compact danger",
              "aria-label": `Revoke ${token.label}`,
              onclick: () => void this.#revoke(token),
            },
            "Revoke",
          ),
        ),
      );
      fill(this.#tokens, ...rows);
    });
  }

  async #revoke(token: Token): Promise<void> {
    const text = `Programs that use “${token.label}” are refused from now on.`;
    if (!(await confirmDialog("Revoke this token?", text, "Revoke"))) return;
    await this.#attempt(this.#tokens, async () => {
      await this.#app.api.delete(`/api/tokens/${token.id}`);
      await this.#listTokens();
    });
  }

  /** Does something with the buttons of `scope` disabled; says what went wrong. */
  async #attempt(scope: Element, action: () => Promise<void>): Promise<void> {
    const buttons = [...scope.querySelectorAll("button")];
    for (const button of buttons) button.disabled = true;
    try {
      this.#message.textContent = "";
      await action();
    } catch (error) {
      this.#message.textContent = explain(error);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }
}
