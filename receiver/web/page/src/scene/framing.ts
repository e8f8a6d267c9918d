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

/** From below, people are seen no steeper at first: radians. */
const LOWEST = -0.1;

/** The unit vector that goes as `way`, turned about the vertical, and at most `steepest`: radians. */
export function direction(way: THREE.Vector3, beside: number, steepest: number): THREE.Vector3 {
  const height = Math.atan2(way.y, Math.hypot(way.x, way.z));
  const polar = Math.PI / 2 - Math.min(steepest, Math.max(LOWEST, height));
  return new THREE.Vector3().setFromSphericalCoords(1, polar, Math.atan2(way.x, way.z) + beside);
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
