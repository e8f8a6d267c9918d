/** The live view: people of the stream or of the disk, and the figures beside them. */

import type { App, View } from "../shell/app.ts";
import type { CameraControl } from "../camera/control.ts";
import { append, h, iconButton } from "../shell/dom.ts";
import { recall, reducedMotion, remember } from "../shell/preferences.ts";
import { Stage } from "../scene/stage.ts";
import { covered } from "../scene/covered.ts";
import { PeopleList } from "../scene/people-list.ts";
import { paint, steerByKeys, Toolbar } from "../scene/toolbar.ts";
import { Unwrapping } from "../scene/unwrapping.ts";
import { recordedSession, type Session } from "../sessions/types.ts";
import type { Insets } from "../scene/framing.ts";
import { clockMinutes } from "./units.ts";
import type {
  FrameRecord,
  Indices,
  LiveFrame,
  LivePerson,
  MeshKind,
  Preview,
  SessionInfo,
  Status,
  TextMessage,
  Texture,
  TextureCoordinates,
  Topology,
} from "../protocol/messages.ts";
import { LiveConnection, type ConnectionState, type LiveListener, type Watch } from "./connection.ts";
import { EmptyMessage } from "./empty.ts";
import { Panel } from "./panel.ts";
import type { StoredFrame } from "./recording.ts";
import { Presence } from "./presence.ts";
import { SessionPicker } from "./sessions.ts";
import { Timeline, type TimelineListener } from "./timeline.ts";

/** Between the cameras of sessions that are shown beside one another. */
const SESSION_DISTANCE_M = 2.5;
const RECORDED = "recorded";

export class LiveView implements View, LiveListener, TimelineListener {
  readonly #app: App;
  readonly #viewport = h("div", { class: "viewport" });
  readonly #canvas = h("canvas", {
    tabindex: 0,
    role: "application",
    "aria-label": "People in 3D. Arrow keys turn, Shift and arrow keys pan, plus and minus zoom.",
  });
  readonly #picture = h("img", { alt: "What the sender's camera sees" });
  readonly #preview = h("figure", { class: "preview", hidden: true }, this.#picture);
  readonly #meshes = new Map<MeshKind, HTMLButtonElement>();
  readonly #picker: SessionPicker;
  readonly #panel: Panel;
  readonly #timeline: Timeline;
  readonly #empty = new EmptyMessage();
  readonly #connection: LiveConnection;
  readonly #stage: Stage | null;
  readonly #toolbar: Toolbar | null;
  readonly #people: PeopleList | null;
  readonly #top = h("div", { class: "viewport-top" });
  readonly #bottom = h("div", { class: "viewport-bottom" });
  readonly #presence = new Presence();
  #ended: Session | null = null;
  readonly #topologies = new Map<string, Indices>();
  readonly #unwrappings = new Map<string, Unwrapping>();
  readonly #unacknowledged: number[] = [];
  #camera: CameraControl | null = null;
  #mesh: MeshKind = recall("mesh") === "surface" ? "surface" : "body";
  #open = false;
  #mayWatch = true;

  constructor(app: App, element: HTMLElement) {
    this.#app = app;
    this.#picker = new SessionPicker(() => this.#watchedChanged());
    this.#panel = new Panel(app);
    this.#timeline = new Timeline(app, this);
    this.#timeline.kind = this.#mesh;
    this.#stage = this.#makeStage();
    this.#toolbar = this.#stage && new Toolbar(this.#stage, true);
    this.#people = this.#stage && new PeopleList(this.#stage, () => this.#toolbar!.refresh());
    this.#connection = new LiveConnection(this.#watch(), this);
    this.#layOut(element);
    if (this.#stage) {
      paint(this.#stage, app);
      steerByKeys(this.#canvas, this.#stage, () => this.#toolbar!.refresh());
    }
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
    if (this.#toolbar?.key(event)) return true;
    if (key === "m") this.#setMesh(this.#mesh === "surface" ? "body" : "surface");
    else if (key === "p") this.#togglePanel();
    else if (key === "l") this.#timeline.backToLive();
    else if (key === " ") this.#timeline.togglePlaying();
    else return false;
    return true;
  }

  state(state: ConnectionState): void {
    if (state.name === "connecting") this.#app.state("connecting", "Connecting");
    else if (state.name === "open") this.#showState();
    else if (state.name === "waiting") this.#lost();
  }

  text(message: TextMessage): void {
    if (message.type === "sessions") this.#setSessions(message.sessions);
    else if (message.type === "ended" && !this.#timeline.isRecorded) this.#remove(message.session);
    this.#showState();
  }

  topology(topology: Topology): void {
    this.#topologies.set(topology.name, topology.faces);
  }

  textureCoordinates(coordinates: TextureCoordinates): void {
    const faces = this.#topologies.get(coordinates.topology);
    if (!faces) return;
    const unwrapping = new Unwrapping(faces, coordinates);
    this.#unwrappings.set(coordinates.topology, unwrapping);
    this.#stage?.unwrap(faces, unwrapping);
  }

  texture({ session, person, picture }: Texture): void {
    const key = `${session}:${person}`;
    const stage = this.#stage;
    // Who has left, or is not shown now, gets a new one with the next appearance.
    if (!stage?.has(key)) return;
    // A picture that cannot be decoded leaves the colours of the vertices.
    stage
      .person(key)
      .dress(picture)
      .then(() => stage.invalidate())
      .catch(() => undefined);
  }

  frame(frame: LiveFrame): void {
    this.#timeline.newest(frame.session, frame.record.seq);
    const shown = this.#picker.shows(frame.session) && !this.#timeline.isRecorded && this.#stage;
    if (!shown) {
      this.#connection.shown(frame.id);
      return;
    }
    const { record, link, fps, traffic } = frame;
    if (frame.session === this.#picker.measured) {
      this.#panel.add({ record, link, fps, traffic }, performance.now() / 1e3);
    }
    this.#draw(frame, this.#stage!);
    this.#note(frame.session, record);
    // Not before it is on the screen: a tab in the background draws nothing, so the receiver sends it nothing.
    this.#unacknowledged.push(frame.id);
    this.#viewport.dataset["frame"] = String(record.seq);
  }

  preview(preview: Preview): void {
    if (!this.#picker.shows(preview.session)) return;
    const previous = this.#picture.src;
    this.#picture.src = URL.createObjectURL(preview.picture);
    if (previous) URL.revokeObjectURL(previous);
    this.#preview.hidden = this.#timeline.isRecorded;
  }

  recorded(frame: StoredFrame): void {
    const stage = this.#stage;
    if (!stage) return;
    const keys = new Set(frame.people.map(({ id }) => `${RECORDED}:${id}`));
    stage.retain((key) => keys.has(key));
    for (const { id, geometry } of frame.people) {
      const person = stage.person(`${RECORDED}:${id}`);
      person.show(geometry);
    }
    this.#note(RECORDED, frame.record);
    stage.moved();
    this.#preview.hidden = true;
    this.#viewport.dataset["frame"] = String(frame.record.seq);
    this.#panel.add({ record: frame.record, link: {}, fps: null, traffic: null }, performance.now() / 1e3);
    this.#showState();
  }

  live(): void {
    this.#stage?.retain((key) => !key.startsWith(RECORDED));
    this.#presence.remove(RECORDED);
    // Colours and textures of the people who were put aside for the recording come again.
    this.#connection.watch(this.#watch());
    this.#showState();
  }

  #draw(frame: LiveFrame, stage: Stage): void {
    const keys = new Set(frame.people.map(({ id }) => `${frame.session}:${id}`));
    stage.retain((key) => keys.has(key) || !(key.startsWith(`${frame.session}:`) || key.startsWith(RECORDED)));
    for (const person of frame.people) this.#drawPerson(frame.session, person, stage);
    stage.moved();
  }

  #drawPerson(session: number, person: LivePerson, stage: Stage): void {
    const { topology } = person;
    const known = typeof topology === "string";
    const faces = known ? this.#topologies.get(topology) : topology;
    if (!faces) return;
    const mesh = stage.person(`${session}:${person.id}`);
    mesh.update(person, faces, (known && this.#unwrappings.get(topology)) || null);
    mesh.moveBy(SESSION_DISTANCE_M * this.#picker.place(session));
  }

  #drawn(): void {
    for (const id of this.#unacknowledged) this.#connection.shown(id);
    this.#unacknowledged.length = 0;
    this.#viewport.dataset["textured"] = String(this.#stage!.textured);
  }

  #remove(session: number): void {
    this.#stage?.retain((key) => !key.startsWith(`${session}:`));
    this.#presence.remove(session);
  }

  /** Notes who is in a frame: for the list of people, for level ground, and for what is said where nobody is. */
  #note(session: number | typeof RECORDED, record: FrameRecord): void {
    this.#presence.note(session, record);
    this.#stage!.level(record.people.map(({ joints_3d: joints }) => joints));
    this.#people!.show(this.#presence.listed(this.#timeline.isRecorded ? RECORDED : null));
    this.#showEmpty();
  }

  #showEmpty(): void {
    this.#empty.show(this.#app.status, this.#picker.sessions.length === 0, this.#presence.nobody);
  }

  #watch(): Watch {
    return { session: this.#picker.watched, mesh: this.#mesh, preview: true, textures: true };
  }

  #setSessions(sessions: readonly SessionInfo[]): void {
    this.#picker.sessions = sessions;
    this.#panel.subject = this.#picker.subject;
    for (const { number } of sessions) if (!this.#picker.shows(number)) this.#remove(number);
    void this.#showEnd();
  }

  /** Says when a session has ended, and what it had on average. */
  async #showEnd(): Promise<void> {
    const { watched, sessions } = this.#picker;
    const ended = sessions.some(({ number, connected }) => number === watched && !connected);
    if (!ended) this.#ended = null;
    else if (this.#ended?.number !== watched) {
      this.#ended = await recordedSession(this.#app.api, watched!).catch(() => null);
    }
    this.#panel.ended = this.#ended;
    this.#showState();
  }

  #watchedChanged(): void {
    this.#panel.subject = this.#picker.subject;
    this.#connection.watch(this.#watch());
    this.#stage?.retain((key) => this.#picker.shows(Number(key.split(":")[0])));
    this.#stage?.forget();
    this.#forgetPeople();
    this.#panel.reset();
    this.#preview.hidden = true;
    void this.#timeline.choose(this.#picker.watched);
  }

  #forgetPeople(): void {
    this.#presence.forget();
    this.#people?.show([]);
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
    const { sessions } = this.#picker;
    const connected = sessions.some((session) => session.connected && this.#picker.shows(session.number));
    if (this.#timeline.isRecorded) this.#app.state("idle", "Recording");
    else if (connected) this.#app.state("live", "Live");
    else if (this.#ended) this.#app.state("idle", `Session ended ${clockMinutes(this.#ended.ended_at)}`);
    else this.#app.state("idle", sessions.length > 0 ? "Session ended" : "No sender yet");
    this.#showEmpty();
  }

  #offer(status: Status): void {
    this.#showEmpty();
    if (!status.live) {
      this.#connection.close();
      this.#stage?.retain(() => false);
    }
    // Otherwise the connection is open or waits for its time.
    if (this.#open && status.live !== this.#mayWatch) this.#connect();
    this.#mayWatch = status.live;
    if (status.browser_camera) void this.#offerCamera();
  }

  async #offerCamera(): Promise<void> {
    if (this.#camera) return;
    const { CameraControl } = await import("../camera/control.ts");
    this.#camera ??= new CameraControl(this.#app);
    this.#top.append(this.#camera.element);
  }

  #setMesh(mesh: MeshKind): void {
    this.#mesh = this.#timeline.kind = mesh;
    remember("mesh", mesh);
    for (const [kind, button] of this.#meshes) button.setAttribute("aria-pressed", String(kind === mesh));
    this.#connection.watch(this.#watch());
    this.#timeline.reload();
  }

  #togglePanel(): void {
    const shown = this.#viewport.parentElement!.classList.toggle("with-panel");
    remember("panel", shown ? "shown" : "hidden");
    this.#viewport.querySelector(".panel-toggle")!.setAttribute("aria-expanded", String(shown));
  }

  #makeStage(): Stage | null {
    try {
      return new Stage({
        canvas: this.#canvas,
        live: true,
        reducedMotion: reducedMotion(),
        drawn: () => this.#drawn(),
        covered: () => this.#covered(),
      });
    } catch {
      this.#app.say("This browser cannot draw in 3D. Allow WebGL 2 or hardware acceleration in its settings.");
      return null;
    }
  }

  #covered(): Insets {
    const sheet = matchMedia("(max-width: 760px)").matches ? [this.#panel.element] : [];
    const top = [...this.#top.children] as HTMLElement[];
    return covered(this.#viewport, top, [this.#bottom, ...sheet], [this.#preview]);
  }

  #layOut(element: HTMLElement): void {
    for (const kind of ["surface", "body"] as const) {
      const name = kind === "surface" ? "Surface" : "Body";
      const pressed = kind === this.#mesh;
      this.#meshes.set(
        kind,
        h(
          "button",
          {
            type: "button",
            title: `${name} (M)`,
            "aria-pressed": pressed ? "true" : "false",
            onclick: () => this.#setMesh(kind),
          },
          name,
        ),
      );
    }
    const wide = matchMedia("(min-width: 961px)").matches;
    const withPanel = wide && recall("panel") !== "hidden";
    const toggle = iconButton("panel", "Figures (P)", () => this.#togglePanel(), {
      class: "tool panel-toggle",
      "aria-expanded": withPanel ? "true" : "false",
      "aria-controls": "panel",
    });
    const kinds = h("div", { class: "segmented", role: "group", "aria-label": "Mesh" }, ...this.#meshes.values());
    this.#toolbar?.element.prepend(h("div", { class: "group" }, kinds));
    this.#toolbar?.element.append(h("div", { class: "group" }, toggle));
    this.#viewport.append(this.#canvas, this.#top, this.#preview, this.#empty.element, this.#bottom);
    append(this.#top, [this.#picker.element, this.#people?.element ?? null]);
    append(this.#bottom, [this.#timeline.element, this.#toolbar?.element ?? null]);
    const observer = new ResizeObserver(() => this.#stage?.layOut());
    for (const over of [this.#top, this.#bottom, this.#preview, this.#panel.element]) observer.observe(over);
    const attributes = { class: "tool sheet-close" };
    const close = iconButton("close", "Close the figures", () => this.#togglePanel(), attributes);
    this.#panel.element.prepend(close);
    element.append(h("div", { class: withPanel ? "live with-panel" : "live" }, this.#viewport, this.#panel.element));
  }
}
