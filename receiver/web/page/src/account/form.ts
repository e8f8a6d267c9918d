/** Forms that are sent to the receiver, and say what is wrong. */

import { explain } from "../shell/api.ts";
import { append, h } from "../shell/dom.ts";

export type Values = Record<string, FormDataEntryValue>;

/** A labelled field. */
export function field(label: string, attributes: Record<string, unknown>): HTMLElement {
  const id = `field-${String(attributes["name"])}`;
  const input = h("input", { id, required: true, ...attributes });
  return h("div", { class: "field" }, h("label", { for: id }, label), input);
}

export function passwordField(label: string, name: string, kind: "current-password" | "new-password"): HTMLElement {
  const length = kind === "new-password" ? { minlength: 10, maxlength: 256 } : {};
  return field(label, { name, type: "password", autocomplete: kind, ...length });
}

/** Tells password managers whose password a form asks for. */
export function hiddenName(account: string): HTMLElement {
  const attributes = { type: "text", autocomplete: "username", "aria-hidden": "true", tabindex: -1, readonly: true };
  return h("input", { class: "visually-hidden", value: account, ...attributes });
}

export function submitButton(text: string, style = "", value = ""): HTMLButtonElement {
  return h("button", { type: "submit", class: `button ${style}`, value }, text);
}

/** @param send is called with what was typed, and the value of the button; a sentence that it returns is shown. */
export function form(
  content: readonly Node[],
  buttons: readonly (Node | false)[],
  send: (values: Values, value: string) => Promise<string | void>,
): HTMLFormElement {
  const said = h("p", { class: "notice", role: "status" });
  const message = h("p", { class: "notice bad", role: "alert" });
  const actions = h("div", { class: "actions row" }, ...buttons);
  const element = h("form", { class: "form" });
  append(element, [...content, said, message, actions]);
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(element));
    said.textContent = message.textContent = "";
    const all = [...element.querySelectorAll("button")];
    for (const each of all) each.disabled = true;
    send(values, (event.submitter as HTMLButtonElement | null)?.value ?? "")
      .then((text) => (said.textContent = text ?? ""))
      .catch((error: unknown) => (message.textContent = explain(error)))
      .finally(() => all.forEach((each) => (each.disabled = false)));
  });
  return element;
}
