/** The numbers of people above their heads, where there are several. */

import * as THREE from "three";
import { personNumber, type Crowd } from "./crowd.ts";
import { textTexture } from "./texture.ts";

/** From the top of a person to the middle of the number. */
const ABOVE_M = 0.1;

export class PersonNumbers {
  readonly object = new THREE.Group();
  readonly #sprites = new Map<string, THREE.Sprite>();
  #colour = "";

  set colour(colour: string) {
    this.#colour = colour;
    this.#retain(() => false);
  }

  /** Puts them where the people are. */
  place(people: Crowd): void {
    const keys = people.size > 1 ? people.keys : [];
    this.#retain((key) => keys.includes(key));
    for (const key of keys) {
      const { box } = people.person(key);
      const sprite = this.#sprites.get(key) ?? this.#make(key);
      box.getCenter(sprite.position).setY(box.max.y + ABOVE_M);
      sprite.visible = !people.isHidden(key) && !box.isEmpty();
    }
  }

  #make(key: string): THREE.Sprite {
    const map = textTexture(String(personNumber(key)), this.#colour);
    const sprite = new THREE.Sprite(new THREE.SpriteMaterial({ map, depthWrite: false, toneMapped: false }));
    sprite.scale.set(0.3, 0.15, 1);
    this.#sprites.set(key, sprite);
    this.object.add(sprite);
    return sprite;
  }

  #retain(keep: (key: string) => boolean): void {
    for (const [key, sprite] of this.#sprites) {
      if (keep(key)) continue;
      sprite.material.map!.dispose();
      sprite.material.dispose();
      sprite.removeFromParent();
      this.#sprites.delete(key);
    }
  }
}
