/** The soft shadow where people touch the floor: their outline seen from below, blurred. */

import * as THREE from "three";

const SIZE_M = 4;
// Five centimetres a pixel are finer than the blur.
const PIXELS = 96;
const REACH_M = 0.6;
/** Objects on this layer cast the shadow. */
export const CASTING_LAYER = 1;

const QUAD_VERTEX = /* glsl */ `
  varying vec2 at;
  void main() { at = uv; gl_Position = vec4(position.xy, 0.0, 1.0); }`;

const BLUR_FRAGMENT = /* glsl */ `
  uniform sampler2D image;
  uniform vec2 stride;
  varying vec2 at;
  void main() {
    float sum = 0.0;
    for (int k = -3; k <= 3; k++) sum += exp(-0.16 * float(k * k)) * texture2D(image, at + float(k) * stride).r;
    gl_FragColor = vec4(sum / 4.24);
  }`;

// Darker the closer the body is to the floor.
const DEPTH_FRAGMENT = /* glsl */ `
  void main() { float near = 1.0 - gl_FragCoord.z; gl_FragColor = vec4(near * near); }`;

const DEPTH_VERTEX = /* glsl */ `
  void main() { gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }`;

const SHADOW_FRAGMENT = /* glsl */ `
  uniform sampler2D image;
  uniform vec3 colour;
  uniform float strength;
  varying vec2 at;
  void main() {
    gl_FragColor = vec4(colour, strength * texture2D(image, at).r);
    #include <colorspace_fragment>
  }`;

const PLANE_VERTEX = /* glsl */ `
  varying vec2 at;
  void main() { at = vec2(uv.x, 1.0 - uv.y); gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }`;

export class ContactShadow {
  readonly object: THREE.Mesh<THREE.PlaneGeometry, THREE.ShaderMaterial>;
  readonly #camera = new THREE.OrthographicCamera(-SIZE_M / 2, SIZE_M / 2, SIZE_M / 2, -SIZE_M / 2, 0, REACH_M);
  readonly #outline = new THREE.WebGLRenderTarget(PIXELS, PIXELS, { depthBuffer: true });
  readonly #blurred = new THREE.WebGLRenderTarget(PIXELS, PIXELS, { depthBuffer: false });
  readonly #depth = new THREE.ShaderMaterial({
    vertexShader: DEPTH_VERTEX,
    fragmentShader: DEPTH_FRAGMENT,
    side: THREE.DoubleSide,
    blending: THREE.NoBlending,
  });
  readonly #blur = new THREE.ShaderMaterial({
    vertexShader: QUAD_VERTEX,
    fragmentShader: BLUR_FRAGMENT,
    uniforms: { image: { value: null }, stride: { value: new THREE.Vector2() } },
    depthTest: false,
    depthWrite: false,
    blending: THREE.NoBlending,
  });
  readonly #quad = new THREE.Mesh(new THREE.PlaneGeometry(2, 2), this.#blur);
  readonly #quadScene = new THREE.Scene().add(this.#quad);

  constructor() {
    this.#camera.rotation.x = Math.PI / 2;
    this.#camera.layers.set(CASTING_LAYER);
    this.#quad.frustumCulled = false;
    this.#quad.layers.set(CASTING_LAYER);
    this.object = new THREE.Mesh(
      new THREE.PlaneGeometry(SIZE_M, SIZE_M).rotateX(-Math.PI / 2),
      new THREE.ShaderMaterial({
        vertexShader: PLANE_VERTEX,
        fragmentShader: SHADOW_FRAGMENT,
        uniforms: {
          image: { value: this.#outline.texture },
          colour: { value: new THREE.Color() },
          strength: { value: 0.8 },
        },
        transparent: true,
        depthWrite: false,
      }),
    );
    this.object.renderOrder = -1;
  }

  set colour(colour: string) {
    (this.object.material.uniforms["colour"]!.value as THREE.Color).set(colour);
  }

  /** Draws the shadow of everything on the casting layer around a point of the floor. */
  render(renderer: THREE.WebGLRenderer, scene: THREE.Scene, { x, y, z }: THREE.Vector3): void {
    this.object.position.set(x, y + 5e-4, z);
    this.#camera.position.set(x, y - 0.01, z);
    this.#camera.updateMatrixWorld();
    const background = scene.background;
    scene.background = null;
    scene.overrideMaterial = this.#depth;
    renderer.setClearColor(0x000000, 0);
    renderer.setRenderTarget(this.#outline);
    renderer.clear();
    renderer.render(scene, this.#camera);
    scene.overrideMaterial = null;
    scene.background = background;
    this.#pass(renderer, this.#outline, this.#blurred, 1, 0);
    this.#pass(renderer, this.#blurred, this.#outline, 0, 1);
    renderer.setRenderTarget(null);
  }

  #pass(
    renderer: THREE.WebGLRenderer,
    from: THREE.WebGLRenderTarget,
    to: THREE.WebGLRenderTarget,
    x: number,
    y: number,
  ): void {
    this.#blur.uniforms["image"]!.value = from.texture;
    (this.#blur.uniforms["stride"]!.value as THREE.Vector2).set(x / PIXELS, y / PIXELS);
    renderer.setRenderTarget(to);
    renderer.render(this.#quadScene, this.#camera);
  }
}
