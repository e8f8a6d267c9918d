/** A scene of people with the controls that lie over it. */

import type { StoredFrame } from "../live/recording.ts";
import type { FrameRecord } from "../protocol/messages.ts";
import type { App } from "../shell/app.ts";
import { append, h } from "../shell/dom.ts";
import { reducedMotion, token } from "../shell/preferences.ts";
import type { Insets } from "./framing.ts";
import { PeopleList, type TakeOut } from "./people-list.ts";
import { Stage } from "./stage.ts";
import { Toolbar } from "./toolbar.ts";

/** What the keys of people from the disk begin with; those of live people begin with their session. */
export const RECORDED = "recorded:";
const GAP_PX = 8;
/** What lies at the left of a narrower scene lies at its top. */
const NARROW_PX = 600;

export interface ViewportOptions {
  app: App;
  /** What the scene shows. */
  name: string;
  /** Of people who move, whom a camera sees. */
  live: boolean;
  /** What lies at the left below the top. */
  left?: HTMLElement;
  /** How people are taken out, by who may. */
  takeOut?: TakeOut | undefined;
  /** Called after each picture that was drawn. */
  drawn?: () => void;
}

export class Viewport {
  readonly element = h("div", { class: "viewport" });
  readonly top = h("div", { class: "viewport-top" });
  readonly bottom = h("div", { class: "viewport-bottom" });
  readonly stage: Stage;
  readonly toolbar: Toolbar;
  readonly people: PeopleList;
  /** Of the frame of the disk that is shown. */
  #source: string | null = null;
  readonly #options: ViewportOptions;
  readonly #observer = new ResizeObserver(() => this.stage.layOut());

  /** @throws Error with a sentence for the user if the browser has no WebGL 2. */
  constructor(options: ViewportOptions) {
    this.#options = options;
    const keys = "Arrow keys turn, Shift and arrow keys pan, plus and minus zoom.";
    const label = `${options.name} in 3D. ${keys}`;
    const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": label });
    this.stage = this.#makeStage(canvas);
    this.toolbar = new Toolbar(this.stage);
    this.people = new PeopleList(this.stage, () => this.toolbar.refresh(), options.takeOut);
    if (options.live) this.top.append(this.people.element);
    this.bottom.append(this.toolbar.element);
    append(this.element, [canvas, this.top, options.left ?? null, this.bottom]);
    canvas.addEventListener("keydown", (event) => {
      if (!this.stage.steer(event)) return;
      event.preventDefault();
      this.toolbar.refresh();
    });
    options.app.theme.onChange(() => this.#paint());
    for (const over of [this.top, this.bottom, options.left]) if (over) this.#observer.observe(over);
  }

  /** Shows a frame of the disk instead of everybody else. */
  showStored({ record, people }: StoredFrame): void {
    // Another picture has other people, before another camera.
    if (this.#source !== null && record.source !== this.#source) {
      this.stage.forget();
      this.stage.retain(() => false);
    }
    this.#source = record.source;
    this.stage.retain((key) => people.some(({ id }) => key === RECORDED + id));
    for (const { id, mesh } of people) {
      const [person, known] = [this.stage.people.person(RECORDED + id), record.people.find((one) => one.id === id)];
      if (known) person.seen.take(known, record.camera?.height, record.captured_at);
      person.show(mesh);
    }
    this.moved(record);
  }

  /** The people of a frame are where they are in it. */
  moved(record: FrameRecord): void {
    // Legs that are invented tell nothing.
    const standing = record.people.filter(({ seen }) => seen?.["left_leg"] !== false && seen?.["right_leg"] !== false);
    this.stage.level(standing.map(({ joints_3d: joints }) => joints));
    this.stage.moved();
    this.people.refresh();
    this.element.dataset["frame"] = String(record.seq);
  }

  /** Frees the graphics card. */
  close(): void {
    this.#observer.disconnect();
    this.stage.dispose();
  }

  #makeStage(canvas: HTMLCanvasElement): Stage {
    const { live, drawn = () => undefined } = this.#options;
    try {
      const [covered, turned] = [() => this.#covered(), () => this.toolbar.refresh()];
      return new Stage({ canvas, live, drawn, turned, reducedMotion: reducedMotion(), covered });
    } catch {
      throw new Error("This browser cannot draw in 3D. Allow WebGL 2 or hardware acceleration in its settings.");
    }
  }

  #paint(): void {
    this.stage.palette = {
      background: token("--stage"),
      clay: token("--stage-clay"),
      line: token("--stage-line"),
      lineStrong: token("--stage-line-strong"),
      shadow: token("--stage-shadow"),
    };
  }

  /** What the controls cover; those that are hidden cover nothing. */
  #covered(): Insets {
    const { left: beside } = this.#options;
    const around = this.element.getBoundingClientRect();
    const narrow = around.width < NARROW_PX;
    const shown = (elements: readonly Element[]) =>
      elements.map((element) => element.getBoundingClientRect()).filter(({ width, height }) => width > 0 && height > 0);
    const left = shown(beside ? [beside] : []);
    const above = [...shown([...this.top.children]), ...(narrow ? left : [])];
    return {
      top: Math.max(0, ...above.map(({ bottom }) => bottom - around.top + GAP_PX)),
      bottom: Math.max(0, ...shown([this.bottom]).map(({ top }) => around.bottom - top + GAP_PX)),
      left: narrow ? 0 : Math.max(0, ...left.map(({ right }) => right - around.left + GAP_PX)),
    };
  }
}
