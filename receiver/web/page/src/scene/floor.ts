/** The floor: a grid with a line each metre. */

import * as THREE from "three";
import type { Palette } from "./materials.ts";

const VISIBLE_M = 8;

const VERTEX = /* glsl */ `
  varying vec2 metres;
  void main() {
    vec4 world = modelMatrix * vec4(position, 1.0);
    metres = world.xz;
    gl_Position = projectionMatrix * viewMatrix * world;
  }`;

// Lines keep a width of a pixel at any distance, and fade where they would be closer than that.
const FRAGMENT = /* glsl */ `
  uniform vec3 line;
  uniform vec2 centre;
  varying vec2 metres;
  float grid(vec2 at, vec2 width, float pixels) {
    vec2 distance = abs(fract(at - 0.5) - 0.5);
    vec2 covered = 1.0 - smoothstep(vec2(0.0), width * pixels, distance);
    covered *= 1.0 - smoothstep(0.15, 0.6, width);
    return max(covered.x, covered.y);
  }
  void main() {
    float fade = 1.0 - smoothstep(2.0, ${VISIBLE_M.toFixed(1)}, length(metres - centre));
    vec2 width = fwidth(metres);
    float alpha = max(0.55 * grid(metres, width, 1.4), 0.16 * grid(metres * 5.0, width * 5.0, 1.2));
    gl_FragColor = vec4(line, alpha * fade);
    #include <colorspace_fragment>
  }`;

export class Floor {
  readonly #grid: THREE.ShaderMaterial;
  readonly object: THREE.Mesh;

  constructor() {
    this.#grid = new THREE.ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: { line: { value: new THREE.Color() }, centre: { value: new THREE.Vector2() } },
      transparent: true,
      depthWrite: false,
      side: THREE.DoubleSide,
    });
    this.object = new THREE.Mesh(new THREE.CircleGeometry(VISIBLE_M, 48).rotateX(-Math.PI / 2), this.#grid);
    this.object.renderOrder = -2;
  }

  /** The point around which the grid is visible, and the height of the floor. */
  moveTo(x: number, level: number, z: number): void {
    (this.#grid.uniforms["centre"]!.value as THREE.Vector2).set(x, z);
    this.object.position.set(x, level, z);
  }

  set palette(palette: Palette) {
    (this.#grid.uniforms["line"]!.value as THREE.Color).set(palette.line);
  }
}
