/** One person in the scene: a mesh whose buffers are reused from frame to frame. */

import * as THREE from "three";
import { edgesOf, latticeNormals } from "./normals.ts";
import type { Indices, LivePerson } from "../protocol/messages.ts";
import type { Look, Materials } from "./materials.ts";
import { freeTexture, readTexture } from "./texture.ts";
import type { Unwrapping } from "./unwrapping.ts";

const GROWTH = 1.25;

/** A mesh file, y up, in metres. */
export interface StoredGeometry {
  positions: THREE.BufferAttribute;
  normals: THREE.BufferAttribute;
  colours: THREE.BufferAttribute | null;
  coordinates: THREE.BufferAttribute | null;
  texture: THREE.Texture<ImageBitmap> | null;
  indices: Indices;
}

export class PersonMesh {
  readonly object = new THREE.Group();
  /** The surface, or the hidden-line fill of the wireframe. */
  readonly #solid: THREE.Mesh<THREE.BufferGeometry, THREE.Material>;
  readonly #wire: THREE.LineSegments<THREE.BufferGeometry, THREE.Material>;
  readonly #materials: Materials;
  readonly #box = new THREE.Box3();
  #edges = new Uint32Array(0);
  #faces: Indices = new Uint16Array(0);
  #edgesAreOf: Indices | null = null;
  #look: Look = "colour";
  #hasColours = false;
  #stored = false;
  #tilt = 0;
  /** How many numbers of the positions are of this frame: the buffer may be longer. */
  #measured = 0;
  #unwrapping: Unwrapping | null = null;
  #texture: THREE.Texture<ImageBitmap> | null = null;
  #textured: THREE.Material | null = null;
  /** Numbers the changes of the texture, so that one that was decoded too late is not put on. */
  #changes = 0;

  constructor(materials: Materials) {
    this.#materials = materials;
    this.#solid = new THREE.Mesh(new THREE.BufferGeometry(), materials.clay);
    this.#wire = new THREE.LineSegments(new THREE.BufferGeometry(), materials.lines);
    // The boxes of meshes that change with every frame cost more than drawing them outside of the view.
    this.#solid.frustumCulled = this.#wire.frustumCulled = false;
    this.#solid.castShadow = this.#solid.receiveShadow = true;
    this.object.add(this.#solid, this.#wire);
  }

  /** The bounding box in the scene, metres, y up. */
  get box(): THREE.Box3 {
    return this.#box;
  }

  /** Whether a texture is drawn. */
  get textured(): boolean {
    return this.#textured !== null && this.#solid.material === this.#textured;
  }

  /**
   * Shows a frame of the live stream; the arrays are copied into the buffers, so the message can be freed.
   *
   * @param unwrapping of a mesh that may have a texture.
   */
  update(person: LivePerson, faces: Indices, unwrapping: Unwrapping | null): void {
    const { vertices, colours, origin, scale } = person;
    const length = unwrapping ? 3 * unwrapping.vertices : vertices.length;
    const newFaces = faces !== this.#faces || unwrapping !== this.#unwrapping;
    const geometry = this.#solid.geometry;
    const positions = this.#buffer("position", length, Uint16Array, false);
    positions.set(vertices);
    latticeNormals(vertices, faces, this.#buffer("normal", length, Float32Array, false));
    if (colours) this.#buffer("color", length, Uint8Array, true).set(colours);
    this.#hasColours = colours !== null || (this.#hasColours && geometry.getAttribute("color") !== undefined);
    if (unwrapping) this.#fillCopies(unwrapping, colours !== null || newFaces);
    if (newFaces) this.#setFaces(faces, unwrapping);
    if (colours || !unwrapping) this.#wear(null);
    this.#stored = false;
    // Camera space has y down and z forward, the scene y up and z towards the viewer: a half turn about x.
    this.object.position.set(origin[0], -origin[1], -origin[2]);
    this.object.scale.set(scale[0], -scale[1], -scale[2]);
    this.#measured = vertices.length;
    this.#measure();
    this.#apply();
  }

  /** Lays the last frame out for textures, if its triangles are these: another frame may be long in coming. */
  unwrap(faces: Indices, unwrapping: Unwrapping): void {
    if (faces !== this.#faces) return;
    this.#fillCopies(unwrapping, true);
    this.#setFaces(faces, unwrapping);
    this.#apply();
  }

  /** Shows a mesh from a file. */
  show(stored: StoredGeometry): void {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", stored.positions);
    geometry.setAttribute("normal", stored.normals);
    if (stored.colours) geometry.setAttribute("color", stored.colours);
    if (stored.coordinates) geometry.setAttribute("uv", stored.coordinates);
    geometry.setIndex(new THREE.BufferAttribute(stored.indices, 1));
    this.#solid.geometry.dispose();
    this.#solid.geometry = geometry;
    this.#hasColours = stored.colours !== null;
    this.#stored = true;
    this.#faces = stored.indices;
    this.#unwrapping = null;
    this.#wear(stored.texture);
    this.object.position.set(0, 0, 0);
    this.object.scale.set(1, 1, 1);
    this.#measured = 3 * stored.positions.count;
    this.#measure();
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

  /** The angle by which the scene is turned about the camera, which the box has to know. */
  set tilt(tilt: number) {
    if (tilt === this.#tilt) return;
    this.#tilt = tilt;
    this.#measure();
  }

  set look(look: Look) {
    this.#look = look;
    this.#apply();
  }

  /** Moves the person, and its box, to the place of its session. */
  moveBy(x: number): void {
    this.object.position.x += x;
    this.#box.min.x += x;
    this.#box.max.x += x;
  }

  dispose(): void {
    this.object.removeFromParent();
    this.#wear(null);
    this.#solid.geometry.dispose();
    this.#wire.geometry.dispose();
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
    if (wire) this.#updateEdges();
  }

  /** Replaces the texture, and frees the one before. */
  #wear(texture: THREE.Texture<ImageBitmap> | null): void {
    this.#changes += 1;
    if (this.#texture) freeTexture(this.#texture);
    this.#textured?.dispose();
    this.#texture = texture;
    this.#textured = texture && this.#materials.textured(texture);
  }

  #updateEdges(): void {
    const geometry = this.#wire.geometry;
    geometry.setAttribute("position", this.#solid.geometry.getAttribute("position"));
    if (this.#edgesAreOf === this.#faces) return;
    this.#edgesAreOf = this.#faces;
    if (this.#edges.length < this.#faces.length) {
      this.#edges = new Uint32Array(Math.ceil(GROWTH * this.#faces.length));
      geometry.setIndex(new THREE.BufferAttribute(this.#edges, 1));
    }
    const count = edgesOf(this.#faces, this.#edges);
    touch(geometry.getIndex()!, count);
    geometry.setDrawRange(0, count);
  }

  /** @param unwrapping draws its triangles instead. */
  #setFaces(faces: Indices, unwrapping: Unwrapping | null): void {
    this.#setIndex(unwrapping?.faces ?? faces);
    if (!unwrapping) this.#solid.geometry.deleteAttribute("uv");
    else if (unwrapping !== this.#unwrapping || !this.#solid.geometry.hasAttribute("uv")) {
      this.#solid.geometry.setAttribute("uv", new THREE.BufferAttribute(unwrapping.coordinates, 2, true));
    }
    this.#unwrapping = unwrapping;
    this.#faces = faces;
    this.#edgesAreOf = null;
  }

  /** @param colours whether they have changed. */
  #fillCopies(unwrapping: Unwrapping, colours: boolean): void {
    const length = 3 * unwrapping.vertices;
    unwrapping.fill(this.#buffer("position", length, Uint16Array, false));
    unwrapping.fill(this.#buffer("normal", length, Float32Array, false));
    if (this.#hasColours && colours) unwrapping.fill(this.#buffer("color", length, Uint8Array, true));
  }

  #setIndex(faces: Indices): void {
    const geometry = this.#solid.geometry;
    let index = geometry.getIndex();
    if (!index || index.array.length < faces.length || index.array.BYTES_PER_ELEMENT < faces.BYTES_PER_ELEMENT) {
      this.#replaceGeometry(index?.array.length ?? 0);
      const capacity = Math.ceil(GROWTH * faces.length);
      const array = faces instanceof Uint32Array ? new Uint32Array(capacity) : new Uint16Array(capacity);
      index = new THREE.BufferAttribute(array, 1).setUsage(THREE.DynamicDrawUsage);
      this.#solid.geometry.setIndex(index);
    }
    index.array.set(faces);
    touch(index, faces.length);
    this.#solid.geometry.setDrawRange(0, faces.length);
  }

  /** The array of an attribute with room for `length` numbers and what it has had, marked for upload. */
  #buffer<T extends Uint16Array | Float32Array | Uint8Array>(
    name: string,
    length: number,
    Type: new (length: number) => T,
    normalised: boolean,
  ): T {
    let attribute = this.#solid.geometry.getAttribute(name) as THREE.BufferAttribute | undefined;
    if (!attribute || attribute.array.length < length || !(attribute.array instanceof Type)) {
      if (attribute) this.#replaceGeometry(attribute.array.length);
      const array = new Type(3 * Math.ceil((GROWTH * length) / 3));
      if (attribute && attribute.array.length < array.length) array.set(attribute.array);
      attribute = new THREE.BufferAttribute(array, 3, normalised).setUsage(THREE.DynamicDrawUsage);
      this.#solid.geometry.setAttribute(name, attribute);
    }
    touch(attribute, length);
    return attribute.array as T;
  }

  /** Frees the buffers on the graphics card: the renderer cannot grow one in place. */
  #replaceGeometry(previousLength: number): void {
    if (previousLength === 0) return;
    const old = this.#solid.geometry;
    const next = new THREE.BufferGeometry();
    for (const [name, attribute] of Object.entries(old.attributes)) next.setAttribute(name, attribute);
    next.setIndex(old.getIndex());
    next.setDrawRange(0, old.drawRange.count);
    old.dispose();
    this.#solid.geometry = next;
  }

  #measure(): void {
    const positions = this.#solid.geometry.getAttribute("position") as THREE.BufferAttribute | undefined;
    if (!positions) return;
    const { array } = positions;
    const { position, scale } = this.object;
    const [cos, sin] = [Math.cos(this.#tilt), Math.sin(this.#tilt)];
    let minX = Infinity,
      minY = Infinity,
      minZ = Infinity;
    let maxX = -Infinity,
      maxY = -Infinity,
      maxZ = -Infinity;
    for (let k = 0; k < this.#measured; k += 3) {
      const x = position.x + scale.x * array[k]!,
        rawY = position.y + scale.y * array[k + 1]!,
        rawZ = position.z + scale.z * array[k + 2]!;
      const y = cos * rawY - sin * rawZ,
        z = sin * rawY + cos * rawZ;
      if (x < minX) minX = x;
      if (x > maxX) maxX = x;
      if (y < minY) minY = y;
      if (y > maxY) maxY = y;
      if (z < minZ) minZ = z;
      if (z > maxZ) maxZ = z;
    }
    this.#box.min.set(minX, minY, minZ);
    this.#box.max.set(maxX, maxY, maxZ);
  }
}

function touch(attribute: THREE.BufferAttribute, length: number): void {
  attribute.clearUpdateRanges();
  attribute.addUpdateRange(0, length);
  attribute.needsUpdate = true;
}
