/** Reads the GLB files that the receiver writes. */

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import type { Indices } from "../protocol/messages.ts";
import type { StoredGeometry } from "./person-mesh.ts";

const loader = new GLTFLoader();

/**
 * The first mesh of a file. A skinned body is bound in the pose of its frame, so its vertices are where they belong.
 *
 * @throws Error if it is no GLB file with a mesh.
 */
export async function readMesh(content: ArrayBuffer): Promise<StoredGeometry> {
  const document = await loader.parseAsync(content, "");
  let found: THREE.BufferGeometry | null = null;
  document.scene.traverse((part) => {
    if (!found && part instanceof THREE.Mesh) found = part.geometry as THREE.BufferGeometry;
  });
  const geometry = found as THREE.BufferGeometry | null;
  if (!geometry?.index) throw new Error("The file has no mesh.");
  if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  return {
    positions: geometry.getAttribute("position") as THREE.BufferAttribute,
    normals: geometry.getAttribute("normal") as THREE.BufferAttribute,
    colours: (geometry.getAttribute("color") as THREE.BufferAttribute | undefined) ?? null,
    indices: geometry.index.array as Indices,
  };
}
