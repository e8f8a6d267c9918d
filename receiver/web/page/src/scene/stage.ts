/** The scene that live people and models are shown in; it is drawn only when something in it has changed. */

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Vector } from "../protocol/messages.ts";
import { Crowd } from "./crowd.ts";
import { DrawLoop, isSoftwareRenderer } from "./draw-loop.ts";
import { Floor } from "./floor.ts";
import { FloorLevel } from "./floor-level.ts";
import { freeArea, framingDistance, type Insets } from "./framing.ts";
import { KeyLight } from "./key-light.ts";
import { PersonNumbers } from "./person-numbers.ts";
import { Materials, type Look, type Palette } from "./materials.ts";

const FIELD_OF_VIEW = 34;
const FOLLOW_S = 0.35;
const FLIGHT_S = 0.5;
/** At least so much is seen of a live scene, in which people move, and of a model. */
const FRAMED_LIVE_M = 2.7;
const FRAMED_MODEL_M = 1.2;
/** Who comes nearer to the edge is given room at once; who leaves room is come nearer to slowly, and not for little. */
const WIDEN_S = 0.2;
const NARROW_S = 1.5;
const NARROW_FROM = 0.75;
/** Of the shadow map. */
const SHADOW_PIXELS = 1024;
/** What keys do to the view: a turn in radians, a way in shares of the height, a scale. */
const TURN = Math.PI / 24;
const WAY = 1 / 6;
const STEPS: Readonly<Record<string, readonly [right: number, up: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};
const ZOOMS: Readonly<Record<string, number>> = { "+": 0.87, "=": 0.87, "-": 1.15 };
/** Light from everywhere: less of it in clay, where shading shows the folds. */
const FILL: Record<Look, number> = { colour: 2.4, solid: 1.4, wireframe: 1.4 };
const START = new THREE.Vector3(0.55, 0.28, 1);

export interface StageOptions {
  canvas: HTMLCanvasElement;
  /** Of a camera: with distances from it, and drawn many times a second, as simply as the machine needs. */
  live: boolean;
  reducedMotion: boolean;
  /** Called after each picture that was drawn. */
  drawn: () => void;
  /** What controls cover; asked again by `Stage.layOut`. */
  covered: () => Insets;
}

export class Stage {
  readonly floor = new FloorLevel();
  readonly #materials = new Materials();
  /** Whoever changes it calls `moved` or `invalidate`. */
  readonly people = new Crowd(this.#materials);
  #area = { x: 0, y: 0, width: 1, height: 1 };
  readonly #options: StageOptions;
  readonly #renderer: THREE.WebGLRenderer;
  readonly #scene = new THREE.Scene();
  readonly #background = new THREE.Color();
  readonly #camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.05, 80);
  readonly #controls: OrbitControls;
  readonly #ground = new Floor();
  readonly #numbers = new PersonNumbers();
  readonly #key: KeyLight;
  readonly #fill = new THREE.HemisphereLight(0xffffff, 0xcfc8c0, FILL.colour);
  readonly #loop: DrawLoop;
  readonly #centre = new THREE.Vector3();
  readonly #around = new THREE.Box3();
  readonly #step = new THREE.Vector3();
  #follow = true;
  #placed = false;
  /** Whether nobody has turned, moved or scaled the view. */
  #untouched = true;
  #flight = 0;
  readonly #observer = new ResizeObserver(() => this.layOut());

  /** @throws Error if the browser has no WebGL 2. */
  constructor(options: StageOptions) {
    this.#options = options;
    const software = isSoftwareRenderer();
    const simple = software && options.live;
    this.#key = new KeyLight(SHADOW_PIXELS);
    this.#renderer = new THREE.WebGLRenderer({ canvas: options.canvas, antialias: !simple });
    // Keeps hues, and colours as they are but for the brightest ones.
    this.#renderer.toneMapping = THREE.NeutralToneMapping;
    this.#loop = new DrawLoop(
      this.#renderer.getContext(),
      software,
      (seconds) => this.#draw(seconds),
      () => this.#fit(),
    );
    this.#controls = new OrbitControls(this.#camera, options.canvas);
    this.#controls.enableDamping = !options.reducedMotion;
    this.#controls.minDistance = 0.4;
    this.#controls.maxDistance = 25;
    this.#controls.maxPolarAngle = 0.55 * Math.PI;
    this.#controls.addEventListener("change", () => this.#loop.request());
    this.#controls.addEventListener("end", () => (this.#loop.eager = false));
    this.#controls.addEventListener("start", () => {
      this.#loop.eager = true;
      this.#flight = 0;
      this.#untouched = false;
    });
    this.#ground.measured = options.live;
    this.#scene.background = this.#background;
    this.#scene.add(this.#ground.object, this.people.object, this.#numbers.object, ...this.#key.objects, this.#fill);
    this.#renderer.shadowMap.enabled = true;
    // Unfiltered where a processor draws people who move: filtering costs it more than the picture.
    this.#renderer.shadowMap.type = simple ? THREE.BasicShadowMap : THREE.PCFShadowMap;
    this.#renderer.shadowMap.autoUpdate = false;
    this.#observer.observe(options.canvas);
    this.layOut();
    this.resetView(false);
  }

  set palette(palette: Palette) {
    this.#background.set(palette.background);
    this.#materials.palette = palette;
    this.#ground.palette = palette;
    this.#numbers.colour = palette.lineStrong;
    this.#key.ground.material.color.set(palette.shadow);
    this.invalidate();
  }

  get look(): Look {
    return this.people.look;
  }

  set look(look: Look) {
    this.people.look = look;
    this.#fill.intensity = FILL[look];
    this.invalidate();
  }

  get follow(): boolean {
    return this.#follow;
  }

  set follow(follow: boolean) {
    this.#follow = follow;
    this.#loop.request(true);
  }

  /** Removes the people whose keys `keep` refuses. */
  retain(keep: (key: string) => boolean): void {
    this.people.retain(keep);
    this.#key.stale = true;
    this.#loop.request();
    if (this.people.size === 0) this.#placed = false;
  }

  /** Follows a person and frames them alone; null for everybody. */
  focusOn(key: string | null): void {
    this.people.focus = key;
    this.#follow = true;
    this.resetView();
  }

  /** Hides a person, also when another frame comes, or shows them again. */
  hide(key: string, hidden: boolean): void {
    this.people.hide(key, hidden);
    this.#locate();
    this.invalidate();
  }

  /** Forgets where the ground is, and who was followed or hidden: another camera comes. */
  forget(): void {
    this.floor.forget();
    this.people.forget();
    this.invalidate();
  }

  /** Takes the joints of the people who are shown, metres, camera space: they tell how the camera was tilted. */
  level(joints: Iterable<readonly Vector[]>): void {
    if (this.people.level(joints)) this.floor.forget();
  }

  /** Tells the stage that people have moved. */
  moved(): void {
    const time = performance.now() / 1e3;
    for (const { box } of this.people.people) this.floor.add(box.min.y, time);
    this.#locate();
    if (!this.#placed && this.people.size > 0) {
      this.#placed = true;
      this.resetView(false);
    }
    this.#key.stale = true;
    this.#loop.moved();
  }

  /** Looks at the people from the front, a little from above and from the side. */
  resetView(animate = true): void {
    this.#untouched = true;
    this.#locate();
    this.#flight = animate && !this.#options.reducedMotion ? FLIGHT_S : 0;
    if (this.#flight === 0) {
      this.#controls.target.copy(this.#centre);
      this.#camera.position.copy(this.#home());
    }
    this.invalidate();
  }

  /** Turns by arrow keys, pans by them with Shift, zooms by plus and minus; returns whether the key was one of these. */
  steer({ key, shiftKey }: KeyboardEvent): boolean {
    const [step, zoom] = [STEPS[key], ZOOMS[key]];
    if (!step && !zoom) return false;
    const way = WAY * this.#options.canvas.clientHeight;
    this.#untouched = false;
    this.#flight = 0;
    if (zoom) this.#controls.dollyIn(zoom);
    else if (step && shiftKey) {
      this.#controls.pan(-step[0] * way, step[1] * way);
      this.#follow = false;
    } else if (step) {
      this.#controls.rotateLeft(-step[0] * TURN);
      this.#controls.rotateUp(step[1] * TURN);
    }
    this.#loop.request(true);
    return true;
  }

  /** Frees the graphics card; the stage cannot be used afterwards. */
  dispose(): void {
    this.#loop.end();
    this.#observer.disconnect();
    this.#controls.dispose();
    this.retain(() => false);
    this.#renderer.dispose();
    this.#renderer.forceContextLoss();
  }

  /** Draws what somebody has changed, with the next frame of the display. */
  invalidate(): void {
    this.#key.stale = true;
    this.#loop.request(true);
  }

  /** Returns whether the view glides on. */
  #draw(seconds: number): boolean {
    const blending = this.people.people.filter((person) => person.advance(performance.now())).length > 0;
    this.#key.stale ||= blending;
    const moving = [blending, this.#advance(seconds), this.floor.settle(seconds), this.#controls.update()];
    this.#ground.level = this.floor.level;
    this.#ground.moveTo(this.#controls.target.x, this.#controls.target.z);
    this.#numbers.place(this.people);
    this.#loop.picture(() => this.#render());
    this.#options.drawn();
    return moving.includes(true);
  }

  #render(): void {
    this.#key.castShadows(this.#renderer, this.#centre, this.floor.level);
    this.#renderer.render(this.#scene, this.#camera);
  }

  /** Flies home or follows; returns whether there is way left. */
  #advance(seconds: number): boolean {
    if (this.#flight > 0) {
      const share = Math.min(1, (3 * seconds) / this.#flight);
      this.#flight -= seconds;
      this.#controls.target.lerp(this.#centre, share);
      this.#camera.position.lerp(this.#home(), share);
      return true;
    }
    if (!this.#follow || this.people.size === 0) return false;
    const zooms = this.#keepInView(seconds);
    this.#step.subVectors(this.#centre, this.#controls.target);
    if (this.#step.length() < 2e-3) return zooms;
    this.#step.multiplyScalar(this.#options.reducedMotion ? 1 : 1 - Math.exp(-seconds / FOLLOW_S));
    this.#controls.target.add(this.#step);
    this.#camera.position.add(this.#step);
    return true;
  }

  /** Goes back where somebody leaves the view, and nearer where there is much room; returns whether it still does. */
  #keepInView(seconds: number): boolean {
    if (!this.#untouched || this.#bounds().isEmpty()) return false;
    const offset = this.#step.subVectors(this.#camera.position, this.#controls.target);
    const distance = offset.length();
    const wanted = this.#home().distanceTo(this.#centre);
    const near = wanted > distance ? wanted - distance < 5e-3 : wanted > NARROW_FROM * distance;
    if (near) return false;
    const share = 1 - Math.exp(-seconds / (wanted > distance ? WIDEN_S : NARROW_S));
    offset.setLength(distance + (this.#options.reducedMotion ? 1 : share) * (wanted - distance));
    this.#camera.position.addVectors(this.#controls.target, offset);
    return true;
  }

  #locate(): void {
    const around = this.#bounds();
    if (!around.isEmpty()) around.getCenter(this.#centre);
    // Who is hidden comes back where they were.
    else if (this.people.size === 0) this.#centre.set(0, this.floor.known ? this.floor.level + 0.9 : 0, -3);
  }

  /** The same object each time. */
  #bounds(): THREE.Box3 {
    return this.people.bounds(this.#around);
  }

  #home(): THREE.Vector3 {
    const around = this.#bounds();
    const half = Math.tan(THREE.MathUtils.degToRad(FIELD_OF_VIEW / 2));
    const least = (this.#options.live ? FRAMED_LIVE_M : FRAMED_MODEL_M) / 2 / half;
    const towards = START.clone().normalize();
    const height = Math.max(this.#options.canvas.clientHeight, 1);
    const needed = around.isEmpty() ? 0 : framingDistance(around, this.#centre, towards, half, height, this.#area);
    return towards.setLength(Math.max(least, needed)).add(this.#centre);
  }

  /** Takes the size of the canvas, and asks again what controls cover. */
  layOut(): void {
    const { clientWidth: width, clientHeight: height } = this.#options.canvas;
    if (width === 0 || height === 0) return;
    this.#fit();
    this.#camera.aspect = width / height;
    this.#area = freeArea(width, height, this.#options.covered());
    // What is looked at is in the middle of what no control covers.
    const { x, y } = this.#area;
    this.#camera.setViewOffset(width, height, width / 2 - x, height / 2 - y, width, height);
    if (this.#untouched) this.resetView(false);
    this.#loop.request(true);
  }

  /** Takes the size of the canvas and the resolution that it is drawn in. */
  #fit(): void {
    const { clientWidth, clientHeight } = this.#options.canvas;
    this.#renderer.setPixelRatio(this.#loop.pixelRatio);
    this.#renderer.setSize(clientWidth, clientHeight, false);
  }
}
