/** The live view: people of the stream or of the disk, and the figures beside them. */

import type { App, View } from "../shell/app.ts";
import type { CameraControl } from "../camera/control.ts";
import { h, iconButton, setText } from "../shell/dom.ts";
import { recall, remember } from "../shell/preferences.ts";
import type { Stage } from "../scene/stage.ts";
import { Unwrapping } from "../scene/unwrapping.ts";
import { RECORDED, Viewport } from "../scene/viewport.ts";
import { recordedSession, type Session } from "../sessions/types.ts";
import { clockMinutes } from "./units.ts";
import type {
  BinaryMessage,
  FacePicture,
  LiveFrame,
  LivePerson,
  MeshKind,
  Preview,
  SessionInfo,
  Status,
  TextMessage,
  Texture,
  Topology,
} from "../protocol/messages.ts";
import { LiveConnection, type ConnectionState, type LiveListener, type Watch } from "./connection.ts";
import { EmptyMessage } from "./empty.ts";
import { Panel } from "./panel.ts";
import type { StoredFrame } from "./recording.ts";
import { SessionPicker } from "./sessions.ts";
import { Timeline, type TimelineListener } from "./timeline.ts";

/** Between the cameras of sessions that are shown beside one another. */
const SESSION_DISTANCE_M = 2.5;
const MESHES: Readonly<Record<MeshKind, string>> = { surface: "Surface", body: "Body" };

export class LiveView implements View, LiveListener, TimelineListener {
  readonly #app: App;
  readonly #picture = h("img", { alt: "What the sender's camera sees" });
  readonly #preview = h("figure", { class: "preview", hidden: true }, this.#picture);
  readonly #meshes = new Map<MeshKind, HTMLButtonElement>();
  readonly #picker = new SessionPicker(() => this.#watchedChanged());
  readonly #panel = new Panel();
  readonly #note = h("p", { class: "note small", role: "note", hidden: true });
  readonly #empty = new EmptyMessage();
  readonly #timeline: Timeline;
  readonly #viewport: Viewport;
  readonly #panelToggle = iconButton("panel", "Figures (P)", () => this.#togglePanel(), { "aria-controls": "panel" });
  readonly #element: HTMLElement;
  readonly #connection: LiveConnection;
  #ended: Session | null = null;
  readonly #topologies = new Map<string, Topology>();
  readonly #unwrappings = new Map<string, Unwrapping>();
  readonly #unacknowledged: number[] = [];
  #camera: CameraControl | null = null;
  #mesh: MeshKind = recall("mesh") === "surface" ? "surface" : "body";
  /** Whether frames came of what is watched that showed nobody yet, or somebody at some time. */
  #seen: "unseen" | "left" | null = null;
  #open = false;
  #mayWatch = true;

  /** @throws Error with a sentence for the user if the browser has no WebGL 2. */
  constructor(app: App, element: HTMLElement) {
    this.#app = app;
    this.#timeline = new Timeline(app, this);
    this.#viewport = new Viewport({
      app,
      name: "People",
      live: true,
      left: this.#preview,
      drawn: () => this.#drawn(),
    });
    this.#connection = new LiveConnection(this.#watch(), this);
    this.#element = h("div", { class: "live" }, this.#viewport.element, this.#panel.element);
    this.#layOut();
    element.append(this.#element);
    app.onStatus((status) => this.#offer(status));
  }

  show(): void {
    this.#open = true;
    this.#connect();
  }

  hide(): void {
    this.#open = false;
    this.#timeline.backToLive();
    this.#connection.close();
    this.#app.state("idle", "");
  }

  key(event: KeyboardEvent): boolean {
    const key = event.key.toLowerCase();
    if (this.#viewport.toolbar.key(event)) return true;
    if (key === "m") this.#setMesh(this.#mesh === "surface" ? "body" : "surface");
    else if (key === "p") this.#togglePanel();
    else if (key === "l") this.#timeline.backToLive();
    else if (key === " ") this.#timeline.togglePlaying();
    else return false;
    return true;
  }

  state(state: ConnectionState): void {
    if (state === "connecting") this.#app.state("connecting", "Connecting");
    else if (state === "open") this.#showState();
    else this.#lost();
  }

  message(message: TextMessage | BinaryMessage): void {
    if (message.type === "frame") this.#frame(message);
    else if (message.type === "preview") this.#showPreview(message);
    else if (message.type === "texture" || message.type === "face") this.#dress(message);
    else if (message.type === "topology") this.#topologies.set(message.name, message);
    else if (message.type === "texture_coordinates") {
      const faces = this.#topologies.get(message.topology)?.faces;
      if (faces) this.#unwrappings.set(message.topology, new Unwrapping(faces, message));
    } else {
      if (message.type === "sessions") this.#setSessions(message.sessions);
      this.#showState();
    }
  }

  #dress({ type, session, person, picture }: Texture | FacePicture): void {
    // Who is not shown now gets a new one with the next appearance.
    if (!this.#picker.shows(session) || this.#timeline.isRecorded) return;
    // A picture that cannot be decoded leaves clay.
    const mesh = this.#stage.people.person(`${session}:${person}`);
    const dressed = type === "face" ? mesh.face(picture) : mesh.dress(picture);
    dressed.then(() => this.#stage.invalidate()).catch(() => undefined);
  }

  #frame(frame: LiveFrame): void {
    this.#timeline.newest(frame.session, frame.record.seq);
    if (!this.#picker.shows(frame.session) || this.#timeline.isRecorded) {
      this.#connection.shown(frame.id);
      return;
    }
    if (frame.session === this.#picker.measured) this.#panel.add(frame, performance.now() / 1e3);
    const keys = new Set(frame.people.map(({ id }) => `${frame.session}:${id}`));
    const others = (key: string) => !key.startsWith(`${frame.session}:`) && !key.startsWith(RECORDED);
    this.#stage.retain((key) => keys.has(key) || others(key));
    for (const person of frame.people) this.#draw(frame, person);
    this.#viewport.moved(frame.record);
    this.#noteWhoIsSeen();
    // Not before it is on the screen: a tab in the background draws nothing, so the receiver sends it nothing.
    this.#unacknowledged.push(frame.id);
  }

  #showPreview({ session, picture }: Preview): void {
    if (!this.#picker.shows(session)) return;
    const previous = this.#picture.src;
    this.#picture.src = URL.createObjectURL(picture);
    if (previous) URL.revokeObjectURL(previous);
    this.#preview.hidden = this.#timeline.isRecorded || !this.#picker.isLive;
  }

  recorded(frame: StoredFrame): void {
    this.#viewport.showStored(frame);
    this.#noteWhoIsSeen();
    this.#preview.hidden = true;
    this.#panel.add({ record: frame.record }, performance.now() / 1e3);
    this.#showState();
  }

  live(): void {
    this.#retain((key) => !key.startsWith(RECORDED));
    // Colours and textures of the people who were put aside for the recording come again.
    this.#connection.watch(this.#watch());
    this.#showState();
  }

  get #stage(): Stage {
    return this.#viewport.stage;
  }

  #draw({ session, record, blend_ms: blendMs }: LiveFrame, person: LivePerson): void {
    const topology = this.#topologies.get(person.topology);
    if (!topology) return;
    const unwrapping = this.#unwrappings.get(person.topology) ?? null;
    const place = SESSION_DISTANCE_M * this.#picker.place(session);
    const mesh = this.#stage.people.person(`${session}:${person.id}`);
    const known = record.people.find(({ id }) => id === person.id);
    if (known) mesh.seen.take(known, record.camera?.height, record.captured_at, place);
    mesh.update(person, topology, unwrapping, place, blendMs);
  }

  #drawn(): void {
    for (const id of this.#unacknowledged) this.#connection.shown(id);
    this.#unacknowledged.length = 0;
    this.#viewport.element.dataset["textured"] = String(this.#stage.people.textured);
    this.#viewport.element.dataset["faces"] = String(this.#stage.people.faces);
  }

  #retain(keep: (key: string) => boolean): void {
    this.#stage.retain(keep);
    this.#viewport.people.refresh();
  }

  #noteWhoIsSeen(): void {
    this.#seen = this.#stage.people.size > 0 ? "left" : (this.#seen ?? "unseen");
    this.#showEmpty();
  }

  #showEmpty(): void {
    const live = this.#picker.isLive;
    const begins = live || this.#camera?.isOn ? "awaited" : this.#picker.watched === null ? "alone" : null;
    const nobody = live || this.#seen === "left" ? this.#seen : null;
    this.#empty.show(this.#app.status, this.#stage.people.size > 0 ? null : (nobody ?? begins));
  }

  #watch(): Watch {
    return { session: this.#picker.watched, mesh: this.#mesh, preview: true, textures: true };
  }

  #setSessions(sessions: readonly SessionInfo[]): void {
    this.#picker.sessions = sessions;
    this.#panel.subject = this.#picker.subject;
    this.#retain((key) => key.startsWith(RECORDED) || this.#picker.shows(sessionOf(key)));
    void this.#showEnd();
  }

  /** Says when a session has ended, and what it had on average. */
  async #showEnd(): Promise<void> {
    const { watched, sessions } = this.#picker;
    const ended = sessions.some(({ number, connected }) => number === watched && !connected);
    if (!ended) this.#ended = null;
    else if (this.#ended?.number !== watched) {
      // What its camera sees now is not known.
      this.#preview.hidden = true;
      this.#ended = await recordedSession(this.#app.api, watched!).catch(() => null);
    }
    this.#panel.ended = this.#ended;
    if (this.#ended) this.#timeline.album = this.#ended.album;
    this.#showState();
  }

  #watchedChanged(): void {
    this.#panel.subject = this.#picker.subject;
    this.#connection.watch(this.#watch());
    this.#stage.forget();
    this.#seen = null;
    this.#retain((key) => this.#picker.shows(sessionOf(key)));
    this.#panel.reset();
    this.#preview.hidden = true;
    void this.#timeline.choose(this.#picker.watched);
    void this.#showEnd();
  }

  #connect(): void {
    if (this.#app.status && !this.#app.status.live) this.#app.state("bad", "Sign in to watch");
    else if (this.#open) this.#connection.open();
  }

  #lost(): void {
    this.#topologies.clear();
    this.#unwrappings.clear();
    this.#unacknowledged.length = 0;
    this.#preview.hidden = true;
    if (!this.#open) return;
    this.#app.state("waiting", "Connection lost, reconnecting");
    // A refusal looks like any other failure here; the status tells whether we may watch.
    void this.#app.refresh();
  }

  #showState(): void {
    if (this.#timeline.isRecorded) this.#app.state("idle", "Recording");
    else if (this.#picker.isLive) this.#app.state("live", "Live");
    else if (this.#ended) this.#app.state("idle", `Session ended ${clockMinutes(this.#ended.ended_at)}`);
    else this.#app.state("idle", this.#picker.watched === null ? "No sender yet" : "Session ended");
    this.#note.hidden = !this.#ended || this.#timeline.isRecorded || this.#picker.isLive;
    if (this.#ended) setText(this.#note, `Session ended ${clockMinutes(this.#ended.ended_at)}: its last frame`);
    this.#showEmpty();
  }

  #offer(status: Status): void {
    this.#showEmpty();
    if (!status.live) {
      this.#connection.close();
      this.#retain(() => false);
    }
    // Otherwise the connection is open or waits for its time.
    if (this.#open && status.live !== this.#mayWatch) this.#connect();
    this.#mayWatch = status.live;
    if (status.browser_camera) void this.#offerCamera();
  }

  async #offerCamera(): Promise<void> {
    if (this.#camera) return;
    const { CameraControl } = await import("../camera/control.ts");
    this.#camera ??= new CameraControl(this.#app, () => {
      this.#picker.release();
      this.#showEmpty();
    });
    this.#viewport.top.append(this.#camera.element);
  }

  #setMesh(mesh: MeshKind): void {
    this.#mesh = this.#timeline.kind = mesh;
    remember("mesh", mesh);
    for (const [kind, button] of this.#meshes) button.setAttribute("aria-pressed", String(kind === mesh));
    this.#connection.watch(this.#watch());
    this.#timeline.reload();
  }

  #togglePanel(): void {
    const shown = this.#element.classList.toggle("with-panel");
    remember("panel", shown ? "shown" : "hidden");
    this.#panelToggle.setAttribute("aria-expanded", String(shown));
  }

  #layOut(): void {
    for (const [kind, name] of Object.entries(MESHES) as [MeshKind, string][]) {
      const attributes = { type: "button", class: "tool", title: `${name} (M)`, onclick: () => this.#setMesh(kind) };
      this.#meshes.set(kind, h("button", attributes, name));
    }
    this.#setMesh(this.#mesh);
    const withPanel = matchMedia("(min-width: 961px)").matches && recall("panel") !== "hidden";
    this.#element.classList.toggle("with-panel", withPanel);
    this.#panelToggle.setAttribute("aria-expanded", String(withPanel));
    const attributes = { class: "tool sheet-close" };
    const close = iconButton("close", "Close the figures", () => this.#togglePanel(), attributes);
    this.#panel.element.prepend(close);
    const { top, bottom, toolbar } = this.#viewport;
    const meshes = h("div", { class: "group", role: "group", "aria-label": "Mesh" }, ...this.#meshes.values());
    toolbar.element.prepend(meshes);
    toolbar.element.append(h("div", { class: "group" }, this.#panelToggle));
    top.prepend(this.#picker.element);
    top.append(this.#note);
    bottom.prepend(this.#timeline.element);
    bottom.before(this.#empty.element);
  }
}

/** The session of a live person. */
function sessionOf(key: string): number {
  return Number(key.split(":")[0]);
}
