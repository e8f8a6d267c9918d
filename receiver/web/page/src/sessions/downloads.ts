/** Downloads of a session: the receiver makes the file, which takes a while. */

import type { App } from "../shell/app.ts";
import { address, explain } from "../shell/api.ts";
import { button, h } from "../shell/dom.ts";
import { closing, openDialog } from "../shell/shortcuts.ts";
import { fileSize, quoted } from "../live/units.ts";
import { sessionName, sessionPath, type Session } from "./types.ts";

const FORMATS: readonly [kind: string, name: string, meaning: string][] = [
  ["glb", "GLB", "animation with texture and skeleton, for Blender, Unity and Unreal"],
  ["usdz", "USDZ", "the same for Apple's viewers and Houdini"],
  ["bvh", "BVH", "skeleton and motion, without mesh"],
  ["zip", "ZIP", "all files of the session as they are"],
];

export function showDownloads(app: App, session: Session): void {
  const message = h("p", { class: "notice bad", role: "alert" });
  const state = h("p", { class: "soft small", role: "status" });
  const row = ([kind, name, meaning]: (typeof FORMATS)[number]) => {
    const size = kind === "zip" ? `, ${fileSize(session.bytes)}` : "";
    const choose = button(name, "", () => void load(kind, choose));
    return h("li", { class: "row" }, choose, h("span", { class: "soft small" }, meaning + size));
  };
  const load = async (kind: string, chosen: HTMLButtonElement) => {
    const path = `${sessionPath(session.number)}/download/${kind}`;
    if (kind === "zip") {
      // May be larger than the memory: the browser writes it as it comes.
      save(address(path), "");
      return;
    }
    chosen.disabled = true;
    message.textContent = "";
    state.textContent = `Making ${kind.toUpperCase()}, this takes up to a minute…`;
    try {
      const answer = await app.api.request("GET", path);
      const [, name = ""] = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("Content-Disposition") ?? "") ?? [];
      const url = URL.createObjectURL(await answer.blob());
      save(url, decodeURIComponent(name));
      setTimeout(() => URL.revokeObjectURL(url), 60e3);
    } catch (error) {
      message.textContent = explain(error);
    } finally {
      state.textContent = "";
      chosen.disabled = false;
    }
  };
  const dialog = openDialog(
    `Download ${quoted(sessionName(session))}`,
    h("ul", { class: "formats" }, ...FORMATS.map(row)),
    state,
    message,
    closing(() => dialog.close()),
  );
}

function save(href: string, name: string): void {
  const link = h("a", { href, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
}
