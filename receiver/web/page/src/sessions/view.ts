/** The sessions view: what was recorded, to play, name, download and delete. */

import { address, explain } from "../shell/api.ts";
import { button, fill, h, icon, iconButton } from "../shell/dom.ts";
import { DetailView, type Detail } from "../shell/detail-view.ts";
import { confirmDialog, promptDialog } from "../shell/shortcuts.ts";
import { fileSize, quoted } from "../live/units.ts";
import type { Status } from "../protocol/messages.ts";
import { ACCEPT, fileInput } from "../uploads/files.ts";
import { UploadQueue } from "../uploads/queue.ts";
import { showDownloads } from "./downloads.ts";
import { sessionFacts, sessionName, sessionPath, type Session } from "./types.ts";

export class SessionsView extends DetailView {
  readonly #message = h("p", { class: "notice bad", role: "alert" });
  readonly #list = h("ul", { class: "gallery wide" });
  readonly #summary = h("p", { class: "soft" });
  readonly #photographs = h("ul", { class: "gallery wide" });
  readonly #photographsTitle = h("summary", { class: "button" });
  readonly #folded = h("details", {}, this.#photographsTitle, this.#photographs);
  readonly #queue = new UploadQueue(this.app, () => void this.#reload());
  readonly #input = fileInput({ id: "clip", "aria-label": "Clip", accept: ACCEPT.clip, multiple: true }, (files) =>
    this.#queue.add(files, "clip"),
  );

  protected override fillHome(status: Status): void {
    if (status.live) {
      const head = h("header", { class: "page-head row" }, h("div", {}, h("h1", {}, "Sessions"), this.#summary));
      if (status.account !== null) head.append(this.#upload(status));
      fill(this.home, head, this.#queue.element, this.#message, this.#list, this.#folded);
      void this.#reload();
    } else {
      fill(
        this.home,
        h("h1", {}, "Sessions"),
        h("p", { class: "soft" }, "Sign in to see what was recorded."),
        h("a", { class: "button primary", href: "#account" }, "Sign in"),
      );
    }
  }

  #upload({ limits }: Status): HTMLElement {
    const most = `Up to ${limits.clip_seconds} s and ${fileSize(limits.clip_bytes)}: MP4, MOV, WebM, Matroska or an animated image`;
    const choose = button("Upload a clip", "", () => this.#input.click(), "upload");
    choose.title = most;
    return h("div", {}, choose, this.#input);
  }

  async #reload(): Promise<void> {
    try {
      const { sessions } = await this.app.api.get<{ sessions: Session[] }>("/api/sessions");
      const total = sessions.reduce((sum, session) => sum + session.bytes, 0);
      this.#summary.textContent =
        sessions.length === 0
          ? "Nothing was recorded yet. Every session of a sender appears here."
          : `${sessions.length === 1 ? "1 session" : `${sessions.length} sessions`}, ${fileSize(total)}`;
      // Photographs that a sender has sent one by one would bury everything else.
      const single = sessions.filter(({ frames, connected }) => frames === 1 && !connected);
      const folded = new Set(single.length > 1 ? single : []);
      const cards = (shown: readonly Session[]) => shown.toReversed().map((session) => this.#card(session));
      fill(this.#list, ...cards(sessions.filter((session) => !folded.has(session))));
      fill(this.#photographs, ...cards([...folded]));
      this.#photographsTitle.textContent = `${folded.size} photographs`;
      this.#folded.hidden = folded.size === 0;
    } catch (error) {
      this.#message.textContent = explain(error);
    }
  }

  #card(session: Session): HTMLElement {
    const name = sessionName(session);
    const path = sessionPath(session.number);
    const picture = h("img", { src: address(`${path}/thumbnail`), alt: "", loading: "lazy", width: 320, height: 240 });
    picture.addEventListener("error", () => picture.replaceWith(h("span", { class: "nobody soft" }, "Nobody seen")));
    const changes = session.may_change
      ? [
          iconButton("rename", `Rename ${name}`, () => void this.#rename(session)),
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
        { class: "card-actions row" },
        iconButton("download", `Download ${name}`, () => showDownloads(this.app, session)),
        ...changes,
      ),
    );
  }

  async #rename(session: Session): Promise<void> {
    const name = await promptDialog("Rename this session", "Name", sessionName(session), "Rename");
    if (name === null) return;
    await this.#attempt(() => this.app.api.post(sessionPath(session.number), { name }, "PATCH"));
  }

  async #delete(session: Session): Promise<void> {
    const text = `${quoted(sessionName(session))}, ${fileSize(session.bytes)}, is deleted from the receiver with all its meshes. This cannot be undone.`;
    if (!(await confirmDialog("Delete this session?", text, "Delete"))) return;
    await this.#attempt(() => this.app.api.delete(sessionPath(session.number)));
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

  protected override load(view: string, id: string): Promise<Detail> | null {
    return view === "sessions" && Number(id) > 0 ? this.#player(Number(id)) : null;
  }

  protected override refused(error: unknown): void {
    toList();
    this.app.fail(error);
  }

  async #player(number: number): Promise<Detail> {
    const loading = this.app.api.get<Session>(sessionPath(number));
    const [session, { SessionPlayer }] = await Promise.all([loading, import("./player.ts")]);
    return new SessionPlayer(this.app, session, toList);
  }
}

function toList(): void {
  location.hash = "sessions";
}
