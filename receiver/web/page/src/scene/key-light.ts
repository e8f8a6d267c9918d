/** The key light, and the shadows of people that it casts on themselves and on the floor. */

import * as THREE from "three";

const KEY = 2.8;
/** From the people to the light, metres: it comes from the front left. */
const OFFSET = new THREE.Vector3(-1.4, 3.2, 2);
/** Half the side of the square around the people that has shadows. */
const SHADOW_M = 2.2;

export class KeyLight {
  /** Whether what casts shadows has changed since they were drawn. */
  stale = true;
  /** What shows the shadow on the floor. */
  readonly ground = new THREE.Mesh(
    new THREE.PlaneGeometry(2.5 * SHADOW_M, 2.5 * SHADOW_M).rotateX(-Math.PI / 2),
    new THREE.ShadowMaterial({ opacity: 0.32, depthWrite: false, toneMapped: false }),
  );
  readonly #light = new THREE.DirectionalLight(0xfff8ef, KEY);

  /** @param pixels of the shadow map, along a side. */
  constructor(pixels: number) {
    this.ground.receiveShadow = this.#light.castShadow = true;
    this.ground.renderOrder = -1;
    const { shadow } = this.#light;
    shadow.mapSize.set(pixels, pixels);
    shadow.radius = pixels / 400;
    shadow.normalBias = 0.02;
    const { camera } = shadow;
    [camera.left, camera.right, camera.bottom, camera.top] = [-SHADOW_M, SHADOW_M, -SHADOW_M, SHADOW_M];
    [camera.near, camera.far] = [0.5, 8];
  }

  /** What is to be added to the scene. */
  get objects(): readonly THREE.Object3D[] {
    return [this.#light, this.#light.target, this.ground];
  }

  /**
   * Has the shadows drawn with the renderer's next picture, if anything has changed.
   *
   * @param centre of the people.
   * @param level height of the floor.
   */
  castShadows(renderer: THREE.WebGLRenderer, centre: THREE.Vector3, level: number): void {
    const { target } = this.#light;
    if (!this.stale && this.ground.position.y === level && target.position.equals(centre)) return;
    this.stale = false;
    this.ground.position.copy(centre).setY(level);
    target.position.copy(centre);
    this.#light.position.addVectors(centre, OFFSET);
    renderer.shadowMap.needsUpdate = true;
  }
}
