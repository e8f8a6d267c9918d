/** The people of a scene: who is shown, how they look, and how the camera that sees them was tilted. */

import * as THREE from "three";
import type { Vector } from "../protocol/messages.ts";
import { GroundTilt } from "./ground-tilt.ts";
import type { Look, Materials } from "./materials.ts";
import { PersonMesh } from "./person-mesh.ts";

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

  get look(): Look {
    return this.#look;
  }

  set look(look: Look) {
    this.#look = look;
    for (const person of this.people) person.look = look;
  }

  /** The mesh of a person, made on first use. */
  person(key: string): PersonMesh {
    let person = this.#people.get(key);
    if (!person) {
      person = new PersonMesh(this.#materials);
      person.look = this.#look;
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

  /** Puts the bounds of everybody who is shown, or of who is followed, into a box; returns it. */
  bounds(box: THREE.Box3): THREE.Box3 {
    box.makeEmpty();
    const { focus } = this;
    const alone = focus !== null && this.#people.has(focus) && !this.#hidden.has(focus);
    for (const [key, person] of this.#people) {
      if (alone ? key === focus : !this.#hidden.has(key)) box.union(person.box);
    }
    return box;
  }

  #turn(): void {
    this.object.rotation.x = this.#tilt.angle;
    for (const person of this.people) person.measure();
  }
}
