/** Reads the GLB files that the receiver writes. */

import * as THREE from "three";
import { GLTFLoader, type GLTFLoaderPlugin, type GLTFParser } from "three/addons/loaders/GLTFLoader.js";
import type { Indices } from "../protocol/messages.ts";
import type { StoredGeometry } from "./person-mesh.ts";
import { readTexture } from "./texture.ts";

/** Reads pictures from the file itself: the loader fetches them by an address, which the page's policy forbids. */
class EmbeddedPictures implements GLTFLoaderPlugin {
  readonly name = "embedded_pictures";
  readonly #parser: GLTFParser;

  constructor(parser: GLTFParser) {
    this.#parser = parser;
  }

  async loadTexture(index: number): Promise<THREE.Texture> {
    const { textures, images } = this.#parser.json as {
      textures: { source: number }[];
      images: { bufferView: number; mimeType: string }[];
    };
    const { bufferView, mimeType } = images[textures[index]!.source]!;
    const content = (await this.#parser.getDependency("bufferView", bufferView)) as ArrayBuffer;
    return readTexture(new Blob([content], { type: mimeType }));
  }
}

const loader = new GLTFLoader().register((parser) => new EmbeddedPictures(parser));

/**
 * The first mesh of a file. A skinned body is bound in the pose of its frame, so its vertices are where they belong.
 *
 * @throws Error if it is no GLB file with a mesh.
 */
export async function readMesh(content: ArrayBuffer): Promise<StoredGeometry> {
  const document = await loader.parseAsync(content, "");
  const meshes: THREE.Mesh<THREE.BufferGeometry, THREE.MeshStandardMaterial>[] = [];
  document.scene.traverse((part) => {
    if (part instanceof THREE.Mesh) meshes.push(part);
  });
  const [mesh] = meshes;
  const geometry = mesh?.geometry;
  if (!geometry?.index) throw new Error("The file has no mesh.");
  if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  return {
    positions: geometry.getAttribute("position") as THREE.BufferAttribute,
    normals: geometry.getAttribute("normal") as THREE.BufferAttribute,
    colours: (geometry.getAttribute("color") as THREE.BufferAttribute | undefined) ?? null,
    coordinates: (geometry.getAttribute("uv") as THREE.BufferAttribute | undefined) ?? null,
    texture: mesh!.material.map as THREE.Texture<ImageBitmap> | null,
    indices: geometry.index.array as Indices,
  };
}
