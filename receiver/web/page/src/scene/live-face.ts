/** The live picture of a face, over the texture of a person. */

import * as THREE from "three";
import { freeTexture, readTexture } from "./texture.ts";

/** A picture stays for so long, and fades within so much more, if no other one comes. */
const STAYS_MS = 1200;
const FADES_MS = 500;

export class LiveFace {
  readonly #map: THREE.IUniform<THREE.Texture | null> = { value: null };
  readonly #share: THREE.IUniform<number> = { value: 0 };
  #cameAt = -Infinity;
  #changes = 0;

  get isShown(): boolean {
    return this.#share.value > 0;
  }

  /** Draws the face over a material's texture, where the geometry's attribute `face` says. */
  cover(material: THREE.MeshStandardMaterial): void {
    material.onBeforeCompile = (shader) => {
      shader.uniforms["faceMap"] = this.#map;
      shader.uniforms["faceShare"] = this.#share;
      shader.vertexShader = shader.vertexShader
        .replace("#include <common>", "attribute vec3 face; varying vec3 vFace;\n#include <common>")
        .replace("#include <begin_vertex>", "vFace = face;\n#include <begin_vertex>");
      shader.fragmentShader = shader.fragmentShader
        .replace(
          "#include <common>",
          "uniform sampler2D faceMap; uniform float faceShare; varying vec3 vFace;\n#include <common>",
        )
        .replace(
          "#include <map_fragment>",
          `#include <map_fragment>
          diffuseColor.rgb = mix(diffuseColor.rgb, texture2D(faceMap, vFace.xy).rgb, faceShare * vFace.z);`,
        );
    };
    material.customProgramCacheKey = () => "live face";
  }

  /**
   * Shows a picture.
   *
   * @throws DOMException if it is no picture.
   */
  async show(picture: Blob): Promise<void> {
    const change = ++this.#changes;
    const texture = await readTexture(picture);
    if (change !== this.#changes) {
      freeTexture(texture);
      return;
    }
    this.#free();
    this.#map.value = texture;
    this.#cameAt = performance.now();
    this.#share.value = 1;
  }

  /** Fades a picture that is old. */
  advance(now: number): void {
    const old = now - this.#cameAt - STAYS_MS;
    this.#share.value = this.#map.value ? Math.min(1, Math.max(0, 1 - old / FADES_MS)) : 0;
  }

  dispose(): void {
    this.#changes += 1;
    this.#free();
  }

  #free(): void {
    if (this.#map.value) freeTexture(this.#map.value);
    this.#map.value = null;
    this.#share.value = 0;
  }
}
