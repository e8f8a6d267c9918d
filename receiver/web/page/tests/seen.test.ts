import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import { Crowd } from "../src/scene/crowd.ts";
import { cutOff } from "../src/scene/cut.ts";
import { direction } from "../src/scene/framing.ts";
import { Materials } from "../src/scene/materials.ts";
import { Seen } from "../src/scene/seen.ts";
import type { Keypoint, Vector } from "../src/protocol/messages.ts";

const HEIGHT = 480;

/** Somebody upright before the camera, whose shoulders and hips are at these heights of the picture. */
function sight(shoulders: number, hips: number, ...unseen: string[]) {
  const heights = [100, 100, 100, 100, 100, shoulders, shoulders, 0, 0, 0, 0, hips, hips, 0, 0, 0, 0];
  const points = heights.map((y, joint): Keypoint => [joint % 2 ? 340 : 300, y, 1]);
  const joints = points.map(([x, y], joint): Vector => [(x - 320) / 400, y / 400, joint === 0 ? 1.9 : 2]);
  const names = ["head", "left_arm", "right_arm", "left_leg", "right_leg"];
  const seen = Object.fromEntries(names.map((name) => [name, !unseen.includes(name)]));
  return { keypoints_2d: points, joints_3d: joints, seen };
}

const STANDING = sight(150, 300);
const BEHIND_DESK = sight(150, 300, "left_leg", "right_leg", "left_arm");

test("who shows legs is no bust, and stays none while they are hidden for a moment", () => {
  const seen = new Seen();
  seen.take(STANDING, HEIGHT, 0);
  assert.equal(seen.isBust, false);
  for (let time = 0; time < 9; time += 0.5) seen.take(BEHIND_DESK, HEIGHT, time);
  assert.deepEqual([seen.isBust, seen.unseenArms], [false, []]);
  for (let time = 9; time < 12; time += 0.5) seen.take(BEHIND_DESK, HEIGHT, time);
  assert.deepEqual([seen.isBust, seen.unseenArms], [true, [1]]);
});

test("legs that come into view are shown when they have been seen for a while, and a leap forgets them", () => {
  const seen = new Seen();
  seen.take(BEHIND_DESK, HEIGHT, 20);
  assert.equal(seen.isBust, true);
  for (const time of [20.1, 20.2]) seen.take(STANDING, HEIGHT, time);
  assert.equal(seen.isBust, true);
  for (const time of [20.3, 20.6, 20.9]) seen.take(STANDING, HEIGHT, time);
  assert.equal(seen.isBust, false);
  seen.take(BEHIND_DESK, HEIGHT, 3);
  assert.equal(seen.isBust, true);
});

test("legs below the picture are not shown, whatever is said of them, and the trunk as far as it was seen lately", () => {
  const seen = new Seen();
  seen.take(sight(300, 600), HEIGHT, 0);
  assert.deepEqual([seen.isBust, seen.cut], [true, 0.4]);
  for (let time = 0; time < 3; time += 0.1) seen.take(sight(240, 540), HEIGHT, time);
  assert.ok(Math.abs(seen.cut - 0.2) < 0.01, String(seen.cut));
  for (let time = 3; time < 12; time += 0.1) seen.take(sight(400, 700), HEIGHT, time);
  assert.ok(Math.abs(seen.cut - 0.2) < 0.01, String(seen.cut));
  for (let time = 12; time < 14; time += 0.1) seen.take(sight(400, 700), HEIGHT, time);
  assert.equal(seen.cut, 0.6);
});

test("a body ends in a flat, closed end where it is cut", () => {
  const seen = new Seen();
  seen.take(BEHIND_DESK, HEIGHT, 0);
  // A pole from the shoulders, at -0.375 m, to the feet, whose lower half are legs; the hips are at -0.75 m.
  const rings = Array.from({ length: 60 }, (_, ring) => -0.375 - 0.0225 * ring);
  const corners = [0, 1, 2, 3].map((k) => [0.15 * Math.cos((k * Math.PI) / 2), 0.15 * Math.sin((k * Math.PI) / 2)]);
  const whole = Float32Array.from(rings.flatMap((y) => corners.flatMap(([x, z]) => [x!, y, z! - 2])));
  const limbs = Uint8Array.from(rings.flatMap((y) => corners.map(() => (y > -0.9 ? 255 : 3))));
  const shown = whole.slice();
  cutOff(shown, limbs, seen);
  for (let k = 0; k < whole.length; k += 3) {
    const [x, y, z] = [shown[k]!, shown[k + 1]!, shown[k + 2]! + 2];
    assert.ok(y > -0.7501, `${y}`);
    if (whole[k + 1]! > -0.75) assert.equal(y, whole[k + 1]);
    else if (whole[k + 1]! > -0.775) assert.ok(Math.hypot(x, z) > 0.149, "the rim is as wide as the trunk");
    else if (whole[k + 1]! < -0.82) assert.ok(Math.hypot(x, z) < 1e-3, "what is beyond closes it");
  }
});

test("faces are found where the camera sees them, and seen from before them", () => {
  const people = new Crowd(new Materials());
  assert.equal(people.head, null);
  people.person("1:0").seen.take(STANDING, HEIGHT, 0, 2.5);
  const { centre, towards } = people.head!;
  assert.ok(centre.distanceTo(new THREE.Vector3(2.475, -0.25, -1.95)) < 1e-3, String(centre.toArray()));
  assert.ok(towards.normalize().z > 0.85, String(towards.toArray()));
  assert.deepEqual(people.camera.toArray(), [2.5, 0, 0]);
});

test("people are seen from the side of the camera, from beside it by an angle, and never steeply", () => {
  assert.ok(direction(new THREE.Vector3(0, 0, 2), "bust").distanceTo(new THREE.Vector3(0, 0, 1)) < 1e-6);
  assert.ok(Math.abs(direction(new THREE.Vector3(0, 0, 2), "whole").x - Math.sin(0.25)) < 1e-6);
  assert.ok(Math.abs(Math.asin(direction(new THREE.Vector3(0, 5, 1), "whole").y) - 0.2) < 1e-6);
  assert.ok(direction(new THREE.Vector3(0, -5, 1), "bust").y > -0.11);
});
