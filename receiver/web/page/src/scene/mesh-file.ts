/** Reads the glTF files that the receiver writes. */

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { ANISOTROPY } from "./texture.ts";

/** A mesh, y up, in metres. */
export interface StoredMesh {
  geometry: THREE.BufferGeometry;
  texture: THREE.Texture | null;
  /** Of each vertex the place of its limb in `seen`, a higher number for the trunk; null without a skeleton. */
  limbs: Uint8Array | null;
}

/** The first bone of each limb, as the loader names it; shoulders stay with the trunk. */
const LIMBS = ["neck01", "upperarm01L", "upperarm01R", "upperleg01L", "upperleg01R"];
const TRUNK = 255;

const loader = new GLTFLoader();

/**
 * The first mesh of a file, as it is in its frame: bodies in their poses, with their expressions.
 *
 * @param folder the address of the folder whose files it may refer to, with a slash at its end.
 * @throws Error if it is no file with a mesh.
 */
export async function readMesh(content: ArrayBuffer, folder = ""): Promise<StoredMesh> {
  const { scene } = await loader.parseAsync(content, folder);
  const mesh = scene.getObjectByProperty("isMesh", true) as THREE.Mesh | undefined;
  if (!mesh) throw new Error("The file has no mesh.");
  const { geometry } = mesh;
  express(geometry, mesh.morphTargetInfluences ?? []);
  scene.updateMatrixWorld(true);
  if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
  const skeleton = mesh instanceof THREE.SkinnedMesh ? mesh.skeleton : null;
  place(geometry, skeleton, mesh.matrixWorld);
  const { map } = mesh.material as THREE.MeshStandardMaterial;
  if (map) map.anisotropy = ANISOTROPY;
  return { geometry, texture: map, limbs: skeleton && limbsOf(geometry, skeleton.bones) };
}

/** The limb of the bone that each vertex follows most, which comes first. */
function limbsOf(geometry: THREE.BufferGeometry, bones: readonly THREE.Object3D[]): Uint8Array {
  const { skinIndex } = geometry.attributes as Record<string, THREE.BufferAttribute>;
  const limbOf = (bone: THREE.Object3D | null): number =>
    bone ? (LIMBS.includes(bone.name) ? LIMBS.indexOf(bone.name) : limbOf(bone.parent)) : TRUNK;
  const limbs = bones.map(limbOf);
  return Uint8Array.from({ length: skinIndex!.count }, (_, vertex) => limbs[skinIndex!.getX(vertex)]!);
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

/** Puts vertices and normals where the bones do; without bones, where the mesh's node does. */
function place(geometry: THREE.BufferGeometry, skeleton: THREE.Skeleton | null, node: THREE.Matrix4): void {
  const { position, normal } = geometry.attributes as Record<string, THREE.BufferAttribute>;
  const positions = new THREE.BufferAttribute(new Float32Array(3 * position!.count), 3);
  const normals = new THREE.BufferAttribute(new Float32Array(3 * position!.count), 3);
  const vector = new THREE.Vector3();
  const blended = node.clone();
  skeleton?.update();
  for (let vertex = 0; vertex < position!.count; vertex++) {
    if (skeleton) blend(geometry, skeleton.boneMatrices!, vertex, blended.elements);
    vector.fromBufferAttribute(position!, vertex).applyMatrix4(blended);
    positions.setXYZ(vertex, vector.x, vector.y, vector.z);
    vector.fromBufferAttribute(normal!, vertex).transformDirection(blended);
    normals.setXYZ(vertex, vector.x, vector.y, vector.z);
  }
  geometry.setAttribute("position", positions).setAttribute("normal", normals);
}

/** Blends the matrices of the bones that a vertex follows. */
function blend(geometry: THREE.BufferGeometry, bones: ArrayLike<number>, vertex: number, blended: number[]): void {
  const { skinIndex, skinWeight, joints_1, weights_1 } = geometry.attributes as Record<string, THREE.BufferAttribute>;
  let further = 0;
  if (weights_1) for (let k = 0; k < 4; k++) further += weights_1.getComponent(vertex, k);
  blended.fill(0);
  for (let k = 0; k < 4; k++) {
    // The loader has divided the first four by their sum, as if there were no others.
    add(bones, skinIndex!.getComponent(vertex, k), skinWeight!.getComponent(vertex, k) * (1 - further), blended);
    if (further > 0) add(bones, joints_1!.getComponent(vertex, k), weights_1!.getComponent(vertex, k), blended);
  }
}

function add(bones: ArrayLike<number>, bone: number, weight: number, blended: number[]): void {
  if (weight > 0) for (let k = 0; k < 16; k++) blended[k]! += weight * bones[16 * bone + k]!;
}
