/** Starts the page: four views, one at a time, chosen by the address. */

import { explain } from "./shell/api.ts";
import { App, type View } from "./shell/app.ts";
import { belongsToControl, showShortcuts } from "./shell/shortcuts.ts";

const NAMES = ["live", "sessions", "models", "account"] as const;
type Name = (typeof NAMES)[number];

const LOADERS: Record<Name, (app: App, element: HTMLElement) => Promise<View>> = {
  live: async (app, element) => new (await import("./live/view.ts")).LiveView(app, element),
  sessions: async (app, element) => new (await import("./sessions/view.ts")).SessionsView(app, element),
  models: async (app, element) => new (await import("./models/view.ts")).ModelsView(app, element),
  account: async (app, element) => new (await import("./account/view.ts")).AccountView(app, element),
};

/** A receiver of another version may have taken the place of the one that this page is from. */
const NOT_LOADED =
  "This part of the page could not be loaded. Check that the receiver is running, then reload the page.";

const app = new App();
const views = new Map<Name, Promise<View>>();
let shown: View | null = null;
let wanted: Name | null = null;

function section(name: Name): HTMLElement {
  return document.getElementById(name)!;
}

async function open(name: Name): Promise<void> {
  if (wanted === name) return;
  wanted = name;
  shown?.hide();
  shown = null;
  for (const other of NAMES) {
    section(other).hidden = other !== name;
    const link = document.querySelector(`nav [data-view="${other}"]`)!;
    if (other === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0]!.toUpperCase()}${name.slice(1)} · Bodywire`;
  let loading = views.get(name);
  if (!loading) views.set(name, (loading = LOADERS[name](app, section(name))));
  const view = await loading.catch((error: unknown) => {
    views.delete(name);
    app.say(error instanceof TypeError ? NOT_LOADED : explain(error));
  });
  if (!view) return;
  if (wanted !== name) return;
  shown = view;
  view.show();
}

function openFromAddress(): void {
  const name = location.hash.slice(1).split("/")[0] as Name;
  open(NAMES.includes(name) ? name : "live").catch((error: unknown) => app.fail(error));
}

function key(event: KeyboardEvent): void {
  if (belongsToControl(event)) return;
  const view = NAMES[Number(event.key) - 1];
  if (view) location.hash = view;
  else if (event.key === "?") showShortcuts();
  else if (event.key.toLowerCase() === "t") app.theme.toggle();
  else if (!shown?.key?.(event)) return;
  event.preventDefault();
}

document.getElementById("theme")!.addEventListener("click", () => app.theme.toggle());
document.getElementById("help")!.addEventListener("click", showShortcuts);
addEventListener("hashchange", openFromAddress);
addEventListener("keydown", key);

// Views first, so that the stream and the status travel at the same time.
openFromAddress();
void app.refresh();
