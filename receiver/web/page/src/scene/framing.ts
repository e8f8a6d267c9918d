/** How far a camera has to be so that everybody is where no control covers the scene. */

import * as THREE from "three";

/** What controls cover of a scene from each edge, pixels. */
export interface Insets {
  top: number;
  bottom: number;
  left: number;
}

/** Around people, as a share of the free area. */
const MARGIN = 0.06;
/** Controls may cover at most so much of a side. */
const MOST_COVERED = 0.7;

const right = new THREE.Vector3();
const up = new THREE.Vector3();
const corner = new THREE.Vector3();

/** The middle and the size of the area that is free, pixels. */
export function freeArea(
  width: number,
  height: number,
  insets: Insets,
): { x: number; y: number; width: number; height: number } {
  const [left, across] = free(width, insets.left, 0);
  const [top, down] = free(height, insets.top, insets.bottom);
  return { x: left + across / 2, y: top + down / 2, width: across, height: down };
}

function free(size: number, before: number, behind: number): [begin: number, length: number] {
  const shrink = Math.min(1, (MOST_COVERED * size) / Math.max(1, before + behind));
  return [shrink * before, Math.max(1, size - shrink * (before + behind))];
}

/** How far beside where it is wanted the camera is, and how high above people at most and at least: radians. */
const SIDES = { face: [0, 0, 0], bust: [0, 0.5, -0.1], whole: [0.25, 0.2, -0.1] } as const;
/** What is seen of a face, which fills half of the height, unless that is too narrow for it. */
const FACE_M = { height: 0.38, width: 0.24 };

/** The unit vector in which the camera is from the people, if it is wanted in the direction `way`. */
export function direction(way: THREE.Vector3, of: keyof typeof SIDES): THREE.Vector3 {
  const [beside, highest, lowest] = SIDES[of];
  const height = Math.atan2(way.y, Math.hypot(way.x, way.z));
  const polar = Math.PI / 2 - Math.min(highest, Math.max(lowest, height));
  return new THREE.Vector3().setFromSphericalCoords(1, polar, Math.atan2(way.x, way.z) + beside);
}

/** The distance from which a face is seen; arguments as for `framingDistance`. */
export function faceDistance(half: number, height: number, area: { width: number }): number {
  return Math.max(FACE_M.height, (FACE_M.width * height) / area.width) / 2 / half;
}

/**
 * The distance from which a camera sees a box within the free area, whose middle shows `centre`.
 *
 * @param towards the unit vector from the centre to the camera.
 * @param half the tangent of half the vertical field of view, which is that of all of `height`.
 */
export function framingDistance(
  box: THREE.Box3,
  centre: THREE.Vector3,
  towards: THREE.Vector3,
  half: number,
  height: number,
  area: { width: number; height: number },
): number {
  right.set(towards.z, 0, -towards.x).normalize();
  up.crossVectors(towards, right);
  // Metres at a metre's distance that fit between the middle and the edge.
  const across = ((1 - MARGIN) * half * area.width) / height;
  const down = ((1 - MARGIN) * half * area.height) / height;
  let distance = 0;
  for (let k = 0; k < 8; k++) {
    corner.set(k & 1 ? box.max.x : box.min.x, k & 2 ? box.max.y : box.min.y, k & 4 ? box.max.z : box.min.z);
    corner.sub(centre);
    const nearer = corner.dot(towards);
    distance = Math.max(
      distance,
      nearer + Math.abs(corner.dot(right)) / across,
      nearer + Math.abs(corner.dot(up)) / down,
    );
  }
  return distance;
}
