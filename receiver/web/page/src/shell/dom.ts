/** Makes elements in one expression. */

type Child = Node | string | null | false;
type Handlers = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void };
type Attributes = { [name: string]: unknown } & Handlers;

/**
 * `h("button", { class: "plain", onclick: save }, "Save")`. Attributes that are false, null or undefined are left out;
 * true makes an empty attribute; names that begin with `on` are listeners.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** An icon of the sprite in index.html; text beside it says what it means. */
export function icon(name: string): SVGElement {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/** A button with a text, and an icon before it. */
export function button(text: string, style: string, onclick: () => void, image?: string): HTMLButtonElement {
  return h("button", { type: "button", class: `button ${style}`, onclick }, image ? icon(image) : null, text);
}

/** A button with an icon and a name that is always read, but shown only where there is room. */
export function iconButton(
  name: string,
  label: string,
  onclick: () => void,
  attributes: Attributes = {},
): HTMLButtonElement {
  return h(
    "button",
    { type: "button", class: "tool", title: label, "aria-label": label, onclick, ...attributes },
    icon(name),
  );
}

export function append(element: Element, children: readonly Child[]): void {
  for (const child of children) if (child !== null && child !== false) element.append(child);
}

/** Replaces what an element contains. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

/** Sets text only where it differs, so that nothing is laid out anew or read aloud again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
