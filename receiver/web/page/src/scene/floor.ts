/** The floor: a grid with a line each metre, and distances from the camera. */

import * as THREE from "three";
import type { Palette } from "./materials.ts";
import { textTexture } from "./texture.ts";

const VISIBLE_M = 8;
const LABELLED_M = [1, 2, 3, 4, 5, 6, 8, 10];

type Label = THREE.Mesh<THREE.PlaneGeometry, THREE.MeshBasicMaterial>;

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
  readonly object = new THREE.Group();
  readonly #grid: THREE.ShaderMaterial;
  readonly #plane: THREE.Mesh;
  readonly #labels = new THREE.Group();

  constructor() {
    this.#grid = new THREE.ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: { line: { value: new THREE.Color() }, centre: { value: new THREE.Vector2() } },
      transparent: true,
      depthWrite: false,
      side: THREE.DoubleSide,
    });
    this.#plane = new THREE.Mesh(new THREE.CircleGeometry(VISIBLE_M, 48).rotateX(-Math.PI / 2), this.#grid);
    this.#plane.renderOrder = -2;
    this.object.add(this.#plane, this.#labels);
  }

  /** Hides distances where there is no camera: around models of pictures. */
  set measured(measured: boolean) {
    this.#labels.visible = measured;
  }

  set level(level: number) {
    this.object.position.y = level;
  }

  /** The point around which the grid is visible. */
  moveTo(x: number, z: number): void {
    (this.#grid.uniforms["centre"]!.value as THREE.Vector2).set(x, z);
    this.#plane.position.set(x, 0, z);
  }

  set palette(palette: Palette) {
    (this.#grid.uniforms["line"]!.value as THREE.Color).set(palette.line);
    for (const label of this.#labels.children) disposeLabel(label as Label);
    this.#labels.clear();
    for (const metres of LABELLED_M) this.#labels.add(distanceLabel(metres, palette.lineStrong));
  }
}

/** "3 m" on the floor, three metres before the camera, to be read from the camera. */
function distanceLabel(metres: number, colour: string): Label {
  const material = new THREE.MeshBasicMaterial({
    map: textTexture(`${metres} m`, colour),
    transparent: true,
    depthWrite: false,
    toneMapped: false,
  });
  const label = new THREE.Mesh(new THREE.PlaneGeometry(0.36, 0.18).rotateX(-Math.PI / 2), material);
  label.position.set(-1.24, 0.001, -metres + 0.12);
  label.renderOrder = -1;
  return label;
}

function disposeLabel(label: Label): void {
  label.geometry.dispose();
  label.material.map?.dispose();
  label.material.dispose();
}
