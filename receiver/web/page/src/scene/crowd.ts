/** The people of a scene: who is shown, how they look, and how the camera that sees them was tilted. */

import * as THREE from "three";
import type { Vector } from "../protocol/messages.ts";
import { GroundTilt } from "./ground-tilt.ts";
import type { Look, Materials } from "./materials.ts";
import { PersonMesh } from "./person-mesh.ts";

/** COCO joints; the middle of a head is between nose and ears. */
const NOSE = 0;
const HEAD = [NOSE, NOSE, 3, 4];
const TRUNK = [5, 6, 11, 12];

/** What people are called by, from 1: keys end with the number of a person, from 0. */
export function personNumber(key: string): number {
  return Number(key.split(":").at(-1)) + 1;
}

export class Crowd {
  /** Camera space, turned so that the ground is level. */
  readonly object = new THREE.Group();
  /** Whose person is framed alone; null for everybody. */
  focus: string | null = null;
  readonly #materials: Materials;
  readonly #people = new Map<string, PersonMesh>();
  readonly #hidden = new Set<string>();
  readonly #tilt = new GroundTilt();
  #look: Look = "colour";
  #complete = false;

  constructor(materials: Materials) {
    this.#materials = materials;
  }

  get size(): number {
    return this.#people.size;
  }

  get keys(): readonly string[] {
    return [...this.#people.keys()];
  }

  get people(): readonly PersonMesh[] {
    return [...this.#people.values()];
  }

  /** How many people have a texture. */
  get textured(): number {
    return this.people.filter((person) => person.textured).length;
  }

  /** Of how many the live face is drawn. */
  get faces(): number {
    return this.people.filter((person) => person.faceIsLive).length;
  }

  get look(): Look {
    return this.#look;
  }

  set look(look: Look) {
    this.#look = look;
    for (const person of this.people) person.look = look;
  }

  get complete(): boolean {
    return this.#complete;
  }

  /** Whether people without legs are shown with what no camera has seen. */
  set complete(complete: boolean) {
    this.#complete = complete;
    for (const person of this.people) person.complete = complete;
  }

  /** The mesh of a person, made on first use. */
  person(key: string): PersonMesh {
    let person = this.#people.get(key);
    if (!person) {
      person = new PersonMesh(this.#materials);
      person.look = this.#look;
      person.complete = this.#complete;
      person.object.visible = !this.#hidden.has(key);
      this.#people.set(key, person);
      this.object.add(person.object);
    }
    return person;
  }

  /** Removes the people whose keys `keep` refuses. */
  retain(keep: (key: string) => boolean): void {
    for (const [key, person] of this.#people) {
      if (keep(key)) continue;
      person.dispose();
      this.#people.delete(key);
    }
  }

  isHidden(key: string): boolean {
    return this.#hidden.has(key);
  }

  /** Hides a person, also when another frame comes, or shows them again. */
  hide(key: string, hidden: boolean): void {
    if (hidden) this.#hidden.add(key);
    else this.#hidden.delete(key);
    const person = this.#people.get(key);
    if (person) person.object.visible = !hidden;
  }

  /** Forgets who was followed or hidden, and how the camera was tilted. */
  forget(): void {
    this.#hidden.clear();
    this.focus = null;
    this.#tilt.forget();
    this.#turn();
  }

  /** Takes joints, metres, camera space; returns whether everybody was turned by that. */
  level(joints: Iterable<readonly Vector[]>): boolean {
    let turned = false;
    for (const each of joints) turned = this.#tilt.add(each) || turned;
    if (turned) this.#turn();
    return turned;
  }

  /** Whether nobody who is framed has legs. */
  get isBust(): boolean {
    return this.framed.length > 0 && this.framed.every((person) => person.isBust);
  }

  /** Where the cameras are that see who is framed. */
  get camera(): THREE.Vector3 {
    const { framed } = this;
    return framed.reduce((sum, { seen }) => sum.setX(sum.x + seen.place / framed.length), new THREE.Vector3());
  }

  /** The middle of the head of the first one who is framed, and where the face looks; null if there is none. */
  get head(): { centre: THREE.Vector3; towards: THREE.Vector3 } | null {
    const [person] = this.framed;
    if (!person) return null;
    const centre = this.#middle(person, HEAD);
    return { centre, towards: this.#middle(person, [NOSE]).sub(centre) };
  }

  /** The middle of the trunks of everybody, hidden or not, or of who is followed alone. */
  get trunks(): THREE.Vector3 {
    const people = this.focus === null ? this.people : this.framed;
    const middles = people.map((person) => this.#middle(person, TRUNK));
    return middles.reduce((sum, middle) => sum.addScaledVector(middle, 1 / people.length), new THREE.Vector3());
  }

  /** Everybody who is shown, or who is followed alone; the earliest first. */
  get framed(): readonly PersonMesh[] {
    const { focus } = this;
    const alone = focus !== null && this.#people.has(focus) && !this.#hidden.has(focus);
    return this.keys.filter((key) => (alone ? key === focus : !this.#hidden.has(key))).map((key) => this.person(key));
  }

  #middle(person: PersonMesh, joints: readonly number[]): THREE.Vector3 {
    return new THREE.Vector3(...person.seen.middle(joints)).applyEuler(this.object.rotation);
  }

  #turn(): void {
    this.object.rotation.x = this.#tilt.angle;
    for (const person of this.people) person.measure();
  }
}
