/** The scene that live people and models are shown in; it is drawn only when something in it has changed. */

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Vector } from "../protocol/messages.ts";
import { Crowd } from "./crowd.ts";
import { DrawLoop, isSoftwareRenderer } from "./draw-loop.ts";
import { Floor } from "./floor.ts";
import { FloorLevel } from "./floor-level.ts";
import { direction, faceDistance, freeArea, framingDistance, type Insets } from "./framing.ts";
import { KeyLight } from "./key-light.ts";
import { PersonNumbers } from "./person-numbers.ts";
import { Materials, type Look, type Palette } from "./materials.ts";

const FIELD_OF_VIEW = 34;
const FOLLOW_S = 0.35;
const FLIGHT_S = 0.5;
/** At least so much is seen. */
const FRAMED_M = 0.6;
/** Who moves within this share of the distance moves in the picture, which follows slowly; but for a face. */
const STILL = 0.07;
const DRIFT_S = 2;
/** Who comes nearer to the edge is given room at once; who leaves room is come nearer to slowly, and not for little. */
const WIDEN_S = 0.35;
const NARROW_S = 1.5;
const NARROW_FROM = 0.85;
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

export interface StageOptions {
  canvas: HTMLCanvasElement;
  /** People who move: drawn many times a second, as simply as the machine needs, and followed. */
  live: boolean;
  reducedMotion: boolean;
  /** Called after each picture that was drawn. */
  drawn: () => void;
  /** Called when somebody turns, moves or scales the view. */
  turned: () => void;
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
  /** What is followed when somebody has turned, moved or scaled the view: it does not depend on what is shown. */
  readonly #trunks = new THREE.Vector3();
  readonly #around = new THREE.Box3();
  readonly #step = new THREE.Vector3();
  /** The middle of the face that is followed, and from where it is seen; null for the people. */
  #face: { centre: THREE.Vector3; towards: THREE.Vector3 } | null = null;
  /** The way from what is followed to what is looked at, and where the view has looked last. */
  readonly #offset = new THREE.Vector3();
  readonly #looked = new THREE.Vector3();
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
      this.#touch();
    });
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

  /** Whether the face of the most prominent person is seen from before it, and followed. */
  get face(): boolean {
    return this.#face !== null;
  }

  set face(face: boolean) {
    const head = face ? this.people.head : null;
    this.#face = head && { centre: head.centre, towards: direction(head.towards, "face") };
    this.#fly();
  }

  get complete(): boolean {
    return this.people.complete;
  }

  /** Whether people without legs are shown with what no camera has seen. */
  set complete(complete: boolean) {
    this.people.complete = complete;
    this.moved();
    if (this.#untouched) this.#fly();
  }

  /** Removes the people whose keys `keep` refuses. */
  retain(keep: (key: string) => boolean): void {
    this.people.retain(keep);
    this.#key.stale = true;
    this.#loop.request();
    if (this.people.size === 0) this.#placed = false;
  }

  /** Follows a person and frames them, or their face, alone; null for everybody. */
  focusOn(key: string | null): void {
    this.people.focus = key;
    this.face = this.face;
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
    for (const { box, isBust } of this.people.people) if (!isBust) this.floor.add(box.min.y, time);
    this.#locate();
    if (!this.#placed && this.people.size > 0) {
      this.#placed = true;
      this.#fly(false);
    }
    this.#key.stale = true;
    this.#loop.moved();
  }

  /** Looks at the people from the side of the camera that sees them. */
  resetView(animate = true): void {
    this.#face = null;
    this.#fly(animate);
  }

  #fly(animate = true): void {
    this.#untouched = true;
    this.#offset.set(0, 0, 0);
    this.#locate();
    this.#flight = animate && !this.#options.reducedMotion ? FLIGHT_S : 0;
    if (this.#flight === 0) this.#look(this.#subject, this.#home(this.#subject));
    this.invalidate();
  }

  #look(at: THREE.Vector3, from: THREE.Vector3): void {
    this.#controls.target.copy(at);
    this.#looked.copy(at);
    this.#camera.position.copy(from);
  }

  /** Somebody turns, moves or scales the view: it stays so, and goes on from there with the people. */
  #touch(): void {
    this.#untouched = false;
    this.#flight = 0;
    this.#face = null;
    this.#offset.subVectors(this.#controls.target, this.#subject);
    this.#options.turned();
  }

  /** Turns by arrow keys, pans by them with Shift, zooms by plus and minus; returns whether the key was one of these. */
  steer({ key, shiftKey }: KeyboardEvent): boolean {
    const [step, zoom] = [STEPS[key], ZOOMS[key]];
    if (!step && !zoom) return false;
    const way = WAY * this.#options.canvas.clientHeight;
    this.#touch();
    if (zoom) this.#controls.dollyIn(zoom);
    else if (step && shiftKey) this.#controls.pan(-step[0] * way, step[1] * way);
    else if (step) {
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
    // Who has no feet stands on nothing.
    this.#ground.object.visible = this.#key.ground.visible = !this.people.isBust;
    this.#ground.moveTo(this.#controls.target.x, this.floor.level, this.#controls.target.z);
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
    const { target } = this.#controls;
    if (this.#flight > 0) {
      const share = Math.min(1, (3 * seconds) / this.#flight);
      this.#flight -= seconds;
      this.#step.copy(this.#camera.position).lerp(this.#home(this.#subject), share);
      this.#look(target.lerp(this.#subject, share), this.#step);
      return true;
    }
    this.#offset.add(target).sub(this.#looked);
    this.#looked.copy(target);
    if (!this.#options.live || this.#loop.eager || this.people.size === 0) return false;
    const zooms = this.#keepInView(seconds);
    this.#step.addVectors(this.#subject, this.#offset).sub(target);
    const [way, still] = [this.#step.length(), this.#face ? 0 : STILL * this.#camera.position.distanceTo(target)];
    if (way < 2e-3) return zooms;
    const share = (time: number) => (this.#options.reducedMotion ? 1 : 1 - Math.exp(-seconds / time));
    const [far, near] = [Math.max(0, way - still), Math.min(way, still)];
    this.#step.setLength(far * share(FOLLOW_S) + near * share(DRIFT_S));
    this.#camera.position.add(this.#step);
    this.#looked.copy(target.add(this.#step));
    return true;
  }

  get #subject(): THREE.Vector3 {
    return this.#face?.centre ?? (this.#untouched ? this.#centre : this.#trunks);
  }

  /** Goes back where somebody leaves the view, and nearer where there is much room; returns whether it still does. */
  #keepInView(seconds: number): boolean {
    if (!this.#untouched || this.#bounds().isEmpty()) return false;
    const offset = this.#step.subVectors(this.#camera.position, this.#controls.target);
    const distance = offset.length();
    const wanted = this.#home(this.#controls.target).distanceTo(this.#controls.target);
    const near = wanted > distance ? wanted - distance < 5e-3 : wanted > NARROW_FROM * distance;
    if (near) return false;
    const share = 1 - Math.exp(-seconds / (wanted > distance ? WIDEN_S : NARROW_S));
    offset.setLength(distance + (this.#options.reducedMotion ? 1 : share) * (wanted - distance));
    this.#camera.position.addVectors(this.#controls.target, offset);
    return true;
  }

  #locate(): void {
    const head = this.#face && this.people.head;
    if (head) this.#face!.centre.copy(head.centre);
    const around = this.#bounds();
    if (this.people.size > 0) this.#trunks.copy(this.people.trunks);
    if (!around.isEmpty()) around.getCenter(this.#centre);
    // Who is hidden comes back where they were.
    else if (this.people.size === 0) this.#centre.set(0, this.floor.known ? this.floor.level + 0.9 : 0, -3);
  }

  /** The same object each time. */
  #bounds(): THREE.Box3 {
    this.#around.makeEmpty();
    for (const { box } of this.people.framed) this.#around.union(box);
    return this.#around;
  }

  /** From where the face, or everybody, is seen when this is looked at. */
  #home(at: THREE.Vector3): THREE.Vector3 {
    const half = Math.tan(THREE.MathUtils.degToRad(FIELD_OF_VIEW / 2));
    const height = Math.max(this.#options.canvas.clientHeight, 1);
    if (this.#face) return at.clone().addScaledVector(this.#face.towards, faceDistance(half, height, this.#area));
    const towards = direction(this.people.camera.sub(this.#centre), this.people.isBust ? "bust" : "whole");
    const around = this.#bounds();
    const needed = around.isEmpty() ? 0 : framingDistance(around, at, towards, half, height, this.#area);
    return towards.setLength(Math.max(FRAMED_M / 2 / half, needed)).add(at);
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
    if (this.#untouched) this.#fly(false);
    this.#loop.request(true);
  }

  /** Takes the size of the canvas and the resolution that it is drawn in. */
  #fit(): void {
    const { clientWidth, clientHeight } = this.#options.canvas;
    this.#renderer.setPixelRatio(this.#loop.pixelRatio);
    this.#renderer.setSize(clientWidth, clientHeight, false);
  }
}
