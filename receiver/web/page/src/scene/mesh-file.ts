/** Reads the GLB files that the receiver writes. */

import type * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { ANISOTROPY } from "./texture.ts";

/** A mesh, y up, in metres. */
export interface StoredMesh {
  geometry: THREE.BufferGeometry;
  texture: THREE.Texture | null;
}

const loader = new GLTFLoader();

/**
 * The first mesh of a file. A skinned body is bound in the pose of its frame, so its vertices are where they belong.
 *
 * @throws Error if it is no GLB file with a mesh.
 */
export async function readMesh(content: ArrayBuffer): Promise<StoredMesh> {
  const { scene } = await loader.parseAsync(content, "");
  const mesh = scene.getObjectByProperty("isMesh", true) as THREE.Mesh | undefined;
  if (!mesh) throw new Error("The file has no mesh.");
  const { geometry } = mesh;
  express(geometry, mesh.morphTargetInfluences ?? []);
  if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  const { map } = mesh.material as THREE.MeshStandardMaterial;
  if (map) map.anisotropy = ANISOTROPY;
  return { geometry, texture: map };
}

/** Moves the vertices by the weights of blend shapes, which the frame does not change any more. */
function express(geometry: THREE.BufferGeometry, weights: readonly number[]): void {
  const shown = geometry.getAttribute("position").array;
  for (const [number, weight] of weights.entries()) {
    const moves = geometry.morphAttributes.position![number]!.array;
    if (weight !== 0) for (let k = 0; k < shown.length; k++) shown[k]! += weight * moves[k]!;
  }
  geometry.morphAttributes = {};
}
