import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import { freeArea, framingDistance } from "../src/scene/framing.ts";
import { GroundTilt } from "../src/scene/ground-tilt.ts";
import { unseenParts } from "../src/models/keypoints.ts";
import type { Keypoint, Vector } from "../src/protocol/messages.ts";

const HALF = Math.tan((17 * Math.PI) / 180);

test("everybody is in the free area, and fills most of it", () => {
  for (const [width, height] of [
    [360, 640],
    [928, 748],
    [1600, 400],
  ] as const) {
    const area = freeArea(width, height, { top: 120, bottom: 130, left: 40 });
    const box = new THREE.Box3(new THREE.Vector3(-1.5, -0.9, -4), new THREE.Vector3(1.6, 0.9, -3));
    const centre = box.getCenter(new THREE.Vector3());
    const towards = new THREE.Vector3(0.55, 0.28, 1).normalize();
    const distance = framingDistance(box, centre, towards, HALF, height, area);
    const camera = new THREE.PerspectiveCamera(34, width / height, 0.05, 80);
    camera.position.copy(centre).addScaledVector(towards, distance);
    camera.lookAt(centre);
    camera.setViewOffset(width, height, width / 2 - area.x, height / 2 - area.y, width, height);
    camera.updateMatrixWorld();
    const pixels = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => {
      const corner = new THREE.Vector3(
        k & 1 ? box.max.x : box.min.x,
        k & 2 ? box.max.y : box.min.y,
        k & 4 ? box.max.z : box.min.z,
      ).project(camera);
      return [((corner.x + 1) * width) / 2, ((1 - corner.y) * height) / 2] as const;
    });
    const [xs, ys] = [pixels.map(([x]) => x), pixels.map(([, y]) => y)];
    assert.ok(Math.min(...xs) >= area.x - area.width / 2 && Math.max(...xs) <= area.x + area.width / 2);
    assert.ok(Math.min(...ys) >= area.y - area.height / 2 && Math.max(...ys) <= area.y + area.height / 2);
    const across = (Math.max(...xs) - Math.min(...xs)) / area.width;
    const down = (Math.max(...ys) - Math.min(...ys)) / area.height;
    assert.ok(Math.max(across, down) > 0.7, `${across} ${down}`);
  }
});

test("controls that cover nearly everything leave a part free", () => {
  const area = freeArea(300, 200, { top: 300, bottom: 300, left: 0 });
  assert.ok(area.height > 50 && area.width === 300);
});

/** 17 joints of somebody who leans by an angle towards the camera; bent knees move the hips back. */
function joints(angle: number, bent = 0): Vector[] {
  const point = (height: number, back: number): Vector => [
    0,
    -(height * Math.cos(angle) - back * Math.sin(angle)),
    4 - height * Math.sin(angle) + back * Math.cos(angle),
  ];
  return Array.from({ length: 17 }, (_, joint) => {
    if (joint === 5 || joint === 6) return point(1.4, 0);
    if (joint === 11 || joint === 12) return point(0.9, bent);
    return joint === 15 || joint === 16 ? point(0, 0) : [NaN, NaN, NaN];
  });
}

test("who stands before a tilted camera is turned upright", () => {
  const tilt = new GroundTilt();
  for (let k = 0; k < 20; k++) tilt.add(joints(0.35 + 0.01 * (k % 3)));
  assert.ok(Math.abs(tilt.angle + 0.36) < 0.03, String(tilt.angle));
});

test("ground stays as it is where nobody stands, or nearly upright", () => {
  const tilt = new GroundTilt();
  for (let k = 0; k < 40; k++) tilt.add(joints(0.4, 0.6));
  assert.equal(tilt.angle, 0);
  for (let k = 0; k < 40; k++) tilt.add(joints(0.03));
  assert.equal(tilt.angle, 0);
});

test("what lies outside of the picture, or is hidden, is not seen", () => {
  const points = Array.from({ length: 17 }, (_, joint): Keypoint => [50, 10 * joint, joint < 5 ? 0.1 : 1]);
  const parts = (size: object) => unseenParts(points, size).map(({ part }) => part);
  assert.deepEqual([parts({}), parts({ width: 100, height: 125 })], [["head"], ["head", "legs", "feet"]]);
});
