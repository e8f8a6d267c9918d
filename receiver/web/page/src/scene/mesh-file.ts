/** Reads the GLB files that the receiver writes. */

import * as THREE from "three";
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
  place(mesh);
  express(geometry, mesh.morphTargetInfluences ?? []);
  if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  const { map } = mesh.material as THREE.MeshStandardMaterial;
  if (map) map.anisotropy = ANISOTROPY;
  return { geometry, texture: map };
}

/** Puts the vertices where the node of the mesh does: those of surfaces are whole steps from its place. */
function place(mesh: THREE.Mesh): void {
  mesh.updateWorldMatrix(true, false);
  const stored = mesh.geometry.getAttribute("position");
  const placed = new THREE.BufferAttribute(new Float32Array(3 * stored.count), 3);
  for (let k = 0; k < stored.count; k++) placed.setXYZ(k, stored.getX(k), stored.getY(k), stored.getZ(k));
  mesh.geometry.setAttribute("position", placed.applyMatrix4(mesh.matrixWorld));
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
