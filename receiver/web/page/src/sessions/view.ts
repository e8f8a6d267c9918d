/** The sessions view: what was recorded, to play, name, download, share and delete. */

import type { App, View } from "../shell/app.ts";
import { explain } from "../shell/api.ts";
import { fill, h, icon, iconButton } from "../shell/dom.ts";
import { confirmDialog, promptDialog } from "../shell/shortcuts.ts";
import { fileSize } from "../live/units.ts";
import type { Status } from "../protocol/messages.ts";
import { showDownloads } from "./downloads.ts";
import type { SessionPlayer } from "./player.ts";
import { showSharing } from "./sharing.ts";
import { sessionFacts, sessionName, sessionPath, type Session } from "./types.ts";

export class SessionsView implements View {
  readonly #app: App;
  readonly #element: HTMLElement;
  readonly #home = h("div", { class: "page" });
  readonly #message = h("p", { class: "notice bad", role: "alert" });
  readonly #list = h("ul", { class: "gallery wide" });
  readonly #summary = h("p", { class: "soft" });
  #player: SessionPlayer | null = null;
  #shown = false;

  constructor(app: App, element: HTMLElement) {
    this.#app = app;
    this.#element = element;
    element.append(this.#home);
    addEventListener("hashchange", () => this.#route());
    app.onStatus((status) => this.#showFor(status));
  }

  show(): void {
    this.#shown = true;
    void this.#app.refresh();
    this.#route();
  }

  hide(): void {
    this.#shown = false;
    this.#closePlayer();
  }

  key(event: KeyboardEvent): boolean {
    return this.#player?.key(event) ?? false;
  }

  #showFor(status: Status): void {
    if (!this.#shown || location.hash.startsWith("#shared/")) return;
    if (status.live) {
      fill(this.#home, h("h1", {}, "Sessions"), this.#summary, this.#message, this.#list);
      void this.#reload();
    } else {
      fill(
        this.#home,
        h("h1", {}, "Sessions"),
        h("p", { class: "soft" }, "Sign in to see what was recorded."),
        h("a", { class: "button primary", href: "#account" }, "Sign in"),
      );
    }
  }

  async #reload(): Promise<void> {
    try {
      const { sessions } = await this.#app.api.get<{ sessions: Session[] }>("/api/sessions");
      const total = sessions.reduce((sum, session) => sum + session.bytes, 0);
      this.#summary.textContent =
        sessions.length === 0
          ? "Nothing was recorded yet. Every session of a sender appears here."
          : `${sessions.length === 1 ? "1 session" : `${sessions.length} sessions`}, ${fileSize(total)}`;
      fill(this.#list, ...sessions.reverse().map((session) => this.#card(session)));
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }

  #card(session: Session): HTMLElement {
    const name = sessionName(session);
    const path = sessionPath(session.number);
    const picture = h("img", { src: `${path}/thumbnail`, alt: "", loading: "lazy", width: 320, height: 240 });
    picture.addEventListener("error", () => picture.replaceWith(h("span", { class: "nobody soft" }, "Nobody seen")));
    const changes = session.may_change
      ? [
          iconButton("rename", `Rename ${name}`, () => void this.#rename(session)),
          iconButton("share", `Share ${name}`, () => void showSharing(this.#app, session)),
          iconButton("delete", `Delete ${name}`, () => void this.#delete(session), { disabled: session.connected }),
        ]
      : [];
    return h(
      "li",
      {},
      h(
        "a",
        { href: session.connected ? "#live" : `#sessions/${session.number}`, "aria-label": `Play ${name}` },
        h("span", { class: "thumbnail" }, picture, h("span", { class: "play-badge" }, icon("play"))),
        h("span", { class: "card-name" }, name, session.connected && h("span", { class: "badge" }, "Live")),
        h("span", { class: "soft small" }, sessionFacts(session)),
      ),
      h(
        "div",
        { class: "card-actions" },
        iconButton("download", `Download ${name}`, () => showDownloads(this.#app, session, path)),
        ...changes,
      ),
    );
  }

  async #rename(session: Session): Promise<void> {
    const name = await promptDialog("Rename this session", "Name", sessionName(session), "Rename");
    if (name === null) return;
    await this.#attempt(() => this.#app.api.post(sessionPath(session.number), { name }, "PATCH"));
  }

  async #delete(session: Session): Promise<void> {
    const text = `“${sessionName(session)}”, ${fileSize(session.bytes)}, is deleted from the receiver with all its meshes and links. This cannot be undone.`;
    if (!(await confirmDialog("Delete this session?", text, "Delete"))) return;
    await this.#attempt(() => this.#app.api.delete(sessionPath(session.number)));
  }

  async #attempt(action: () => Promise<unknown>): Promise<void> {
    try {
      this.#message.textContent = "";
      await action();
      await this.#reload();
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }

  #route(): void {
    if (!this.#shown) return;
    const [view, id] = location.hash.slice(1).split("/");
    if (view === "shared" && id) void this.#open(`/api/shared/${encodeURIComponent(id)}`, null);
    else if (view === "sessions" && Number(id) > 0) {
      void this.#open(sessionPath(Number(id)), () => (location.hash = "sessions"));
    } else this.#closePlayer();
  }

  async #open(path: string, closed: (() => void) | null): Promise<void> {
    try {
      const [session, { SessionPlayer }] = await Promise.all([this.#app.api.get<Session>(path), import("./player.ts")]);
      this.#closePlayer();
      if (!this.#shown) return;
      this.#player = new SessionPlayer(this.#app, session, path, closed);
      this.#home.hidden = true;
      this.#element.append(this.#player.element);
    } catch (error) {
      this.#closePlayer();
      if (closed) closed();
      else fill(this.#home, h("h1", {}, "Sessions"), h("p", { class: "notice bad", role: "alert" }, explain(error)));
      if (closed) this.#app.fail(error);
    }
  }

  #closePlayer(): void {
    this.#player?.close();
    this.#player = null;
    this.#home.hidden = false;
  }
}
