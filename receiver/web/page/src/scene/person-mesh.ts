/** One person in the scene: a mesh whose buffers are reused from frame to frame. */

import * as THREE from "three";
import { cutOff } from "./cut.ts";
import { sumNormals } from "./normals.ts";
import { Seen } from "./seen.ts";
import type { Indices, LivePerson, Topology } from "../protocol/messages.ts";
import { matt, type Look, type Materials } from "./materials.ts";
import type { StoredMesh } from "./mesh-file.ts";
import { LiveFace } from "./live-face.ts";
import { freeTexture, readTexture } from "./texture.ts";
import type { Unwrapping } from "./unwrapping.ts";

/** Buffers have room for meshes that are larger by this: surfaces are, from frame to frame. */
const GROWTH = 1.25;
/** So far below a bust arms are framed. */
const ARMS_M = 0.1;
const ATTRIBUTES = [
  ["position", Float32Array, false],
  ["normal", Float32Array, false],
  ["color", Uint8Array, true],
] as const;

export class PersonMesh {
  readonly object = new THREE.Group();
  /** The bounding box in the scene, metres, y up, but of arms what was below the picture. */
  readonly box = new THREE.Box3();
  /** The surface, or the hidden-line fill of the wireframe. */
  readonly #solid: THREE.Mesh<THREE.BufferGeometry, THREE.Material>;
  readonly #wire: THREE.Mesh<THREE.BufferGeometry, THREE.Material>;
  readonly #materials: Materials;
  readonly #corner = new THREE.Vector3();
  #faces: Indices | null = null;
  #look: Look = "colour";
  /** What the camera shows of the person in the frame that is shown, or comes next. */
  readonly seen = new Seen();
  #complete = false;
  /** Of each vertex its limb; null where nothing can be left out. */
  #limbs: Uint8Array | null = null;
  /** The vertices with what is left out. */
  #whole = new Float32Array(0);
  #hasColours = false;
  #stored = false;
  /** How many numbers of the positions are of this frame: the buffer may be longer. */
  #measured = 0;
  /** Where the vertices go to, until when, and when they were where they are shown. */
  #to = new Float32Array(0);
  #end = 0;
  #shownAt = 0;
  #unwrapping: Unwrapping | null = null;
  #textured: THREE.MeshStandardMaterial | null = null;
  readonly #face = new LiveFace();
  /** Numbers the changes of the texture, so that one that was decoded too late is not put on. */
  #changes = 0;

  constructor(materials: Materials) {
    this.#materials = materials;
    this.#solid = new THREE.Mesh(new THREE.BufferGeometry(), materials.clay);
    this.#wire = new THREE.Mesh(this.#solid.geometry, materials.lines);
    // The boxes of meshes that change with every frame cost more than drawing them outside of the view.
    this.#solid.frustumCulled = this.#wire.frustumCulled = false;
    this.#solid.castShadow = this.#solid.receiveShadow = true;
    this.#solid.customDepthMaterial = materials.depth;
    this.object.add(this.#solid, this.#wire);
  }

  /** Whether a texture is drawn. */
  get textured(): boolean {
    return this.#textured !== null && this.#solid.material === this.#textured;
  }

  /** Whether a live picture of the face is drawn. */
  get faceIsLive(): boolean {
    return this.textured && this.#face.isShown;
  }

  /** Whether the person is shown as far as was seen, without legs. */
  get isBust(): boolean {
    return this.#limbs !== null && !this.#complete && this.seen.isBust;
  }

  /**
   * Shows a frame of the live stream.
   *
   * @param unwrapping of a mesh that may have a texture.
   * @param place metres to the right.
   * @param blendMs how long the vertices take from where they are, with `advance`.
   */
  update(
    { vertices, colours, origin, scale }: LivePerson,
    { faces, limbs }: Pick<Topology, "faces" | "limbs">,
    unwrapping: Unwrapping | null,
    place: number,
    blendMs: number,
  ): void {
    this.#hasColours = colours !== null || (this.#hasColours && !this.#stored);
    const laidOut = this.#layOut(vertices.length / 3, faces, unwrapping);
    const { position, normal, color } = this.#solid.geometry.attributes;
    const shown = position!.array as Float32Array;
    // Camera space has y down and z forward, the scene y up and z towards the viewer: a half turn about x.
    const whole = Float32Array.from(vertices);
    for (let k = 0; k < whole.length; k += 3) {
      whole[k] = origin[0] + place + scale[0] * whole[k]!;
      whole[k + 1] = -origin[1] - scale[1] * whole[k + 1]!;
      whole[k + 2] = -origin[2] - scale[2] * whole[k + 2]!;
    }
    [this.#whole, this.#limbs] = [whole, limbs];
    const to = this.#withoutUnseen();
    if (laidOut || blendMs === 0) shown.set(to);
    [this.#to, this.#shownAt] = [to, performance.now()];
    this.#end = this.#shownAt + blendMs;
    sumNormals(to, faces, normal!.array as Float32Array);
    if (colours) color!.array.set(colours);
    this.#measured = to.length;
    this.#upload("position", "normal", ...(laidOut || colours ? ["color"] : []));
    if (colours || !unwrapping) this.#wear(null);
    this.measure();
    this.#apply();
  }

  /** Whether all of the person is shown, also what no camera has seen. */
  set complete(complete: boolean) {
    this.#complete = complete;
    if (this.#measured === 0) return;
    this.#to = this.#withoutUnseen();
    this.#end = this.#shownAt;
    const { position, normal } = this.#solid.geometry.attributes;
    (position!.array as Float32Array).set(this.#to);
    if (this.#faces) sumNormals(this.#to, this.#faces, normal!.array as Float32Array);
    this.#upload("position", "normal");
    this.measure();
  }

  #withoutUnseen(): Float32Array<ArrayBuffer> {
    if (!this.isBust) return this.#whole;
    const shown = this.#whole.slice();
    cutOff(shown, this.#limbs!, this.seen);
    return shown;
  }

  /** Takes the vertices on their way; returns whether there is way left. */
  advance(now: number): boolean {
    this.#face.advance(now);
    if (this.#shownAt >= this.#end) return false;
    const share = Math.min(1, (now - this.#shownAt) / (this.#end - this.#shownAt));
    const shown = this.#solid.geometry.getAttribute("position").array as Float32Array;
    const to = this.#to;
    for (let k = 0; k < to.length; k++) shown[k]! += share * (to[k]! - shown[k]!);
    this.#shownAt = now;
    this.#upload("position");
    return now < this.#end;
  }

  /**
   * Shows a mesh of a file.
   *
   * @param mesh y up, metres; it is the person's from now on.
   */
  show({ geometry, texture, limbs }: StoredMesh): void {
    this.#replace(geometry);
    const { array } = geometry.getAttribute("position");
    [this.#whole, this.#limbs] = [Float32Array.from(array), limbs];
    array.set(this.#withoutUnseen());
    this.#hasColours = geometry.hasAttribute("color");
    this.#stored = true;
    this.#end = 0;
    this.#faces = this.#unwrapping = null;
    this.#wear(texture);
    this.#measured = array.length;
    this.measure();
    this.#apply();
  }

  /**
   * Puts a texture on the body that is shown; colours that come later, or another texture, take its place.
   *
   * @throws DOMException if it is no picture.
   */
  async dress(picture: Blob): Promise<void> {
    const change = ++this.#changes;
    const texture = await readTexture(picture);
    if (change === this.#changes) this.#wear(texture);
    else freeTexture(texture);
    this.#apply();
  }

  /**
   * Puts the live picture of a face on the texture.
   *
   * @throws DOMException if it is no picture.
   */
  async face(picture: Blob): Promise<void> {
    await this.#face.show(picture);
  }

  set look(look: Look) {
    this.#look = look;
    this.#apply();
  }

  dispose(): void {
    this.object.removeFromParent();
    this.#wear(null);
    this.#face.dispose();
    this.#solid.geometry.dispose();
  }

  /** Measures the box: what the mesh is in has been turned. A texture may come before the first mesh. */
  measure(): void {
    const position = this.#solid.geometry.attributes["position"];
    if (!position) return;
    const array = this.#shownAt < this.#end ? this.#to : position.array;
    this.object.updateWorldMatrix(true, false);
    this.box.makeEmpty();
    for (let k = 0; k < this.#measured; k += 3) {
      this.box.expandByPoint(this.#corner.fromArray(array, k).applyMatrix4(this.object.matrixWorld));
    }
    if (!this.isBust || this.seen.cut === 0) return;
    this.#corner.set(...this.seen.end).applyMatrix4(this.object.matrixWorld);
    this.box.min.y = Math.max(this.box.min.y, this.#corner.y - ARMS_M);
  }

  #apply(): void {
    const wire = this.#look === "wireframe";
    const coloured = this.#look === "colour" && this.#hasColours;
    // Colours in files are linear, those of the stream are sRGB.
    const painted = this.#stored ? this.#materials.linearColours : this.#materials.colours;
    const plain = coloured ? painted : this.#materials.clay;
    const textured = this.#look === "colour" && this.#solid.geometry.hasAttribute("uv") ? this.#textured : null;
    this.#solid.material = wire ? this.#materials.hidden : (textured ?? plain);
    this.#wire.visible = wire;
  }

  /** Replaces the texture, and frees the one before. */
  #wear(texture: THREE.Texture | null): void {
    this.#changes += 1;
    if (this.#textured) freeTexture(this.#textured.map!);
    this.#textured?.dispose();
    this.#textured = texture && matt({ map: texture });
    if (this.#textured && !this.#stored) this.#face.cover(this.#textured);
  }

  /** Makes room for a mesh, and takes its triangles if they are others; returns whether either was needed. */
  #layOut(vertices: number, faces: Indices, unwrapping: Unwrapping | null): boolean {
    const all = unwrapping?.faces ?? faces;
    const grown = this.#reserve(unwrapping?.vertices ?? vertices, all);
    if (!grown && faces === this.#faces && unwrapping === this.#unwrapping) return false;
    [this.#faces, this.#unwrapping, this.#stored] = [faces, unwrapping, false];
    const { geometry } = this.#solid;
    geometry.index!.array.set(all);
    touch(geometry.index!, all.length);
    geometry.setDrawRange(0, all.length);
    if (unwrapping) {
      geometry.setAttribute("uv", new THREE.BufferAttribute(unwrapping.coordinates, 2, true));
      geometry.setAttribute("face", new THREE.BufferAttribute(unwrapping.face, 3, true));
    } else geometry.deleteAttribute("uv").deleteAttribute("face");
    return true;
  }

  /** Makes buffers with room for a mesh unless they have it; they keep what was in them. */
  #reserve(vertices: number, faces: Indices): boolean {
    const old = this.#solid.geometry;
    const index = this.#stored ? null : old.index;
    const room = index ? old.getAttribute("position").count : 0;
    const wide = faces.BYTES_PER_ELEMENT > (index?.array.BYTES_PER_ELEMENT ?? 0);
    if (index && room >= vertices && index.array.length >= faces.length && !wide) return false;
    const geometry = new THREE.BufferGeometry();
    const count = Math.max(room, Math.ceil(GROWTH * vertices));
    for (const [name, Type, normalised] of ATTRIBUTES) {
      const attribute = new THREE.BufferAttribute(new Type(3 * count), 3, normalised);
      if (index) attribute.array.set(old.getAttribute(name).array);
      geometry.setAttribute(name, attribute.setUsage(THREE.DynamicDrawUsage));
    }
    const corners = Math.ceil(GROWTH * faces.length);
    const array = faces instanceof Uint32Array ? new Uint32Array(corners) : new Uint16Array(corners);
    geometry.setIndex(new THREE.BufferAttribute(array, 1).setUsage(THREE.DynamicDrawUsage));
    this.#replace(geometry);
    return true;
  }

  /** Frees the buffers on the graphics card: the renderer cannot grow one in place. */
  #replace(geometry: THREE.BufferGeometry): void {
    this.#solid.geometry.dispose();
    this.#solid.geometry = this.#wire.geometry = geometry;
  }

  /** Sends attributes to the graphics card, with the copies on seams. */
  #upload(...names: readonly string[]): void {
    const length = this.#unwrapping ? 3 * this.#unwrapping.vertices : this.#measured;
    for (const name of names) {
      const attribute = this.#solid.geometry.getAttribute(name) as THREE.BufferAttribute;
      this.#unwrapping?.fill(attribute.array as Float32Array);
      touch(attribute, length);
    }
  }
}

function touch(attribute: THREE.BufferAttribute, length: number): void {
  attribute.clearUpdateRanges();
  attribute.addUpdateRange(0, length);
  attribute.needsUpdate = true;
}
