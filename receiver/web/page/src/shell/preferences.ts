/** What this browser remembers, if it may. */

export function recall(name: string): string | null {
  try {
    return localStorage.getItem(`bodywire.${name}`);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`bodywire.${name}`, value);
  } catch {
    // A private window without storage: the choice lasts as long as the page.
  }
}

export type Theme = "light" | "dark";

/** The theme in use; its listeners are told when it changes. */
export class ThemeControl {
  readonly #system = matchMedia("(prefers-color-scheme: dark)");
  readonly #listeners: (() => void)[] = [];
  #chosen: Theme | null;

  constructor() {
    const stored = recall("theme");
    this.#chosen = stored === "light" || stored === "dark" ? stored : null;
    this.#system.addEventListener("change", () => this.#apply());
    this.#apply();
  }

  get theme(): Theme {
    return this.#chosen ?? (this.#system.matches ? "dark" : "light");
  }

  toggle(): void {
    this.#chosen = this.theme === "dark" ? "light" : "dark";
    remember("theme", this.#chosen);
    this.#apply();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
    listener();
  }

  #apply(): void {
    document.documentElement.dataset["theme"] = this.theme;
    for (const listener of this.#listeners) listener();
  }
}

/** A colour of styles/tokens.css in the current theme. */
export function token(name: string): string {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

export const reducedMotion = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;
