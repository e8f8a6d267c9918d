/** The key light, and the shadows of people: those that it casts, and those where they touch the floor. */

import * as THREE from "three";
import { ContactShadow } from "./contact-shadow.ts";

const KEY = 2.8;
/** From the people to the light, metres. */
const OFFSET = new THREE.Vector3(-1.4, 3.2, 2);
const SHADOW_PIXELS = 1024;
/** Half the side of the square around the people that has shadows. */
const SHADOW_M = 2.2;

/** Light from the front left, whose shadows of people fall on themselves and on the ground. */
function keyLight(): THREE.DirectionalLight {
  const key = new THREE.DirectionalLight(0xfff8ef, KEY);
  const { shadow } = key;
  shadow.mapSize.set(SHADOW_PIXELS, SHADOW_PIXELS);
  shadow.radius = 6;
  shadow.blurSamples = 16;
  shadow.normalBias = 0.02;
  const { camera } = shadow;
  [camera.left, camera.right, camera.bottom, camera.top] = [-SHADOW_M, SHADOW_M, -SHADOW_M, SHADOW_M];
  [camera.near, camera.far] = [0.5, 8];
  return key;
}

/** What shows the key light's shadow on the ground. */
function shadowedGround(): THREE.Mesh<THREE.PlaneGeometry, THREE.ShadowMaterial> {
  const ground = new THREE.PlaneGeometry(4 * SHADOW_M, 4 * SHADOW_M).rotateX(-Math.PI / 2);
  const shadowed = new THREE.Mesh(
    ground,
    new THREE.ShadowMaterial({ opacity: 0.32, depthWrite: false, toneMapped: false }),
  );
  shadowed.receiveShadow = true;
  shadowed.renderOrder = -1;
  return shadowed;
}

export class KeyLight {
  /** Whether what casts shadows has changed since they were drawn. */
  stale = true;
  readonly #light = keyLight();
  readonly #ground = shadowedGround();
  readonly #contact = new ContactShadow();
  readonly #feet = new THREE.Vector3();

  /** @param casts whether the light casts shadows; people touch the floor without, too. */
  constructor(casts: boolean) {
    this.#light.castShadow = casts;
  }

  /** What is to be added to the scene: the light, and what shows its shadows. */
  get objects(): readonly THREE.Object3D[] {
    return [this.#light, this.#light.target, ...this.shadows];
  }

  /** What shows its shadows on the floor. */
  get shadows(): readonly THREE.Object3D[] {
    return this.#light.castShadow ? [this.#ground, this.#contact.object] : [this.#contact.object];
  }

  set shadowColour(colour: string) {
    this.#contact.colour = colour;
    this.#ground.material.color.set(colour);
  }

  /**
   * Draws the shadows again if anything has changed: blurring them costs a processor more than the picture. Those of
   * the light are drawn with the renderer's next picture.
   *
   * @param centre of the people.
   * @param level height of the floor.
   */
  castShadows(renderer: THREE.WebGLRenderer, scene: THREE.Scene, centre: THREE.Vector3, level: number): void {
    this.#feet.set(centre.x, level, centre.z);
    const { target } = this.#light;
    if (!this.stale && this.#ground.position.equals(this.#feet) && target.position.equals(centre)) return;
    this.stale = false;
    this.#ground.position.copy(this.#feet);
    target.position.copy(centre);
    this.#light.position.addVectors(centre, OFFSET);
    this.#contact.render(renderer, scene, this.#feet);
    renderer.shadowMap.needsUpdate = true;
  }
}
