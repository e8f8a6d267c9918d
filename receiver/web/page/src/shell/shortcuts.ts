/** The keyboard shortcuts, and the dialog that lists them. */

import { button, fill, h } from "./dom.ts";

const SHORTCUTS: readonly [keys: readonly string[], meaning: string][] = [
  [["1", "2", "3", "4"], "Live, Sessions, Models, Account"],
  [["M"], "Surface or body"],
  [["U"], "Show or leave out limbs that no camera sees"],
  [["S"], "Plain, in clay"],
  [["W"], "Wireframe"],
  [["C"], "Colour"],
  [["F"], "Follow the face"],
  [["R"], "Reset the view"],
  [["E"], "Full screen"],
  [["P"], "Show or hide the figures"],
  [["L"], "Back to live"],
  [["Space"], "Play or pause the recording"],
  [["←", "→"], "Previous or next picture of an album"],
  [["←", "→", "↑", "↓"], "Turn, while the scene has the focus; with Shift: pan"],
  [["+", "−"], "Zoom, while the scene has the focus"],
  [["T"], "Dark or light"],
  [["?"], "This list"],
];

export function showShortcuts(): void {
  const list = h("dl", { class: "shortcuts" });
  for (const [keys, meaning] of SHORTCUTS) {
    list.append(h("dt", {}, ...keys.map((key) => h("kbd", {}, key))), h("dd", {}, meaning));
  }
  const dialog = openDialog(
    "Keyboard shortcuts",
    list,
    closing(() => dialog.close()),
  );
}

/** The button at the end of a dialog that only tells something. */
export function closing(close: () => void): HTMLElement {
  return h("div", { class: "actions row" }, button("Close", "", close));
}

/** Asks before something cannot be undone. */
export function confirmDialog(title: string, text: string, action: string): Promise<boolean> {
  return ask(title, h("p", {}, text), action, "danger");
}

/** Asks for a line of text; null if it was cancelled. */
export async function promptDialog(
  title: string,
  label: string,
  value: string,
  action: string,
): Promise<string | null> {
  const input = h("input", { id: "prompt-text", value, maxlength: 100, autocomplete: "off" });
  const field = h("div", { class: "field" }, h("label", { for: "prompt-text" }, label), input);
  const answer = ask(title, field, action, "primary");
  input.select();
  return (await answer) ? input.value : null;
}

function ask(title: string, content: Node, action: string, style: "primary" | "danger"): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = button("Cancel", "", () => dialog.close(""));
    cancel.autofocus = style === "danger";
    const act = h("button", { class: `button ${style}`, value: "yes" }, action);
    const actions = h("div", { class: "actions row" }, cancel, act);
    const dialog = openDialog(title, h("form", { method: "dialog", class: "form" }, content, actions));
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
  });
}

export function openDialog(title: string, ...content: Node[]): HTMLDialogElement {
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
  fill(dialog, h("h2", { id: "dialog-title" }, title), ...content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Whether a key belongs to a control that has the focus rather than to the page. */
export function belongsToControl(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  if (document.querySelector("dialog[open]")) return true;
  const target = event.target as Element;
  // A slider takes arrows, Home and End; letters are still the page's.
  if (target instanceof HTMLInputElement) return target.type !== "range" || event.key.length > 1;
  if (target instanceof HTMLSelectElement) return true;
  return event.key === " " && target instanceof HTMLElement && target.matches("button, a, summary");
}
