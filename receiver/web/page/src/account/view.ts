/** The account view: signing up, in and out, and what an account can change of itself. */

import type { App, View } from "../shell/app.ts";
import { fill, h } from "../shell/dom.ts";
import type { Status } from "../protocol/messages.ts";
import { field, form, passwordField, submitButton } from "./form.ts";
import { AccountSettings } from "./settings.ts";

export class AccountView implements View {
  readonly #app: App;
  readonly #page = h("div", { class: "page narrow" });
  #settings: AccountSettings | null = null;
  #shownFor: string | undefined;

  constructor(app: App, element: HTMLElement) {
    this.#app = app;
    element.append(this.#page);
    app.onStatus((status) => this.#showFor(status));
  }

  show(): void {
    void this.#app.refresh();
    void this.#settings?.reload();
  }

  hide(): void {
    this.#settings?.hideSecret();
  }

  #showFor(status: Status): void {
    const key = JSON.stringify([status.sign_up, status.account]);
    if (key === this.#shownFor) return;
    this.#shownFor = key;
    this.#settings = status.account === null ? null : new AccountSettings(this.#app, status.account);
    if (this.#settings) fill(this.#page, ...this.#settings.elements);
    else this.#showSignedOut(status.sign_up);
  }

  #showSignedOut(signUp: boolean): void {
    const name = { name: "name", autocomplete: "username", autocapitalize: "none", spellcheck: "false" };
    const fields = [field("Name", name), passwordField("Password", "password", "current-password")];
    const buttons = [
      submitButton("Sign in", "primary", "/api/session"),
      signUp && submitButton("Sign up", "", "/api/accounts"),
    ];
    const hint = signUp
      ? "Sign in, or choose a name and a password of at least 10 characters to sign up."
      : "Accounts are made where the receiver runs: receiver accounts add NAME.";
    fill(
      this.#page,
      h("h1", {}, "Account"),
      h("p", { class: "soft" }, hint),
      form(fields, buttons, async (values, path) => {
        await this.#app.api.post(path || "/api/session", values);
        await this.#app.refresh();
      }),
      h(
        "p",
        { class: "soft small" },
        "Forgotten the password? Who runs the receiver sets another one: ",
        h("code", {}, "receiver accounts password NAME"),
      ),
    );
  }
}
