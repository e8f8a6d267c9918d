import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import { FloorLevel } from "../src/scene/floor-level.ts";
import { Materials } from "../src/scene/materials.ts";
import { sumNormals } from "../src/scene/normals.ts";
import { PersonMesh } from "../src/scene/person-mesh.ts";
import { Unwrapping } from "../src/scene/unwrapping.ts";

/** A tetrahedron, wound counter-clockwise from outside. */
const FACES = new Uint16Array([0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3]);
const CORNERS = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];

test("normals are those of the triangles around, weighted by area", () => {
  const [positions, normals] = [new Float32Array(CORNERS), new Float32Array(12).fill(99)];
  sumNormals(positions, FACES, normals);
  const reference = new THREE.BufferGeometry().setAttribute("position", new THREE.BufferAttribute(positions, 3));
  reference.setIndex(new THREE.BufferAttribute(FACES, 1)).computeVertexNormals();
  const found = new THREE.BufferAttribute(normals, 3);
  const [one, other] = [new THREE.Vector3(), new THREE.Vector3()];
  for (let vertex = 0; vertex < 4; vertex++) {
    one.fromBufferAttribute(found, vertex).normalize();
    assert.ok(one.distanceTo(other.fromBufferAttribute(reference.getAttribute("normal"), vertex)) < 1e-6);
  }
});

test("people go on from where they are to where they are next", () => {
  const person = new PersonMesh(new Materials());
  const shown = () => (person.object.children[0] as THREE.Mesh).geometry.getAttribute("position").array[0]!;
  const at = (x: number, blendMs: number) => {
    const vertices = new Uint16Array(CORNERS);
    const mesh = { id: 0, origin: [x, 0, 0], scale: [1, 1, 1], vertices, topology: "body", colours: null } as const;
    person.update(mesh, { faces: FACES, limbs: null }, null, 0, blendMs);
    return performance.now();
  };
  at(1, 40);
  assert.equal(shown(), 1);
  let now = at(3, 40);
  assert.equal(shown(), 1);
  assert.equal(person.advance(now + 20), true);
  assert.ok(shown() > 1.9 && shown() < 2.2, String(shown()));
  assert.equal(person.box.min.x, 3);
  now = at(0, 40);
  assert.ok(shown() > 1.9);
  assert.equal(person.advance(now + 60), false);
  assert.equal(shown(), 0);
  at(5, 0);
  assert.equal(shown(), 5);
});

test("copies on seams have the places and the normals of their vertices", () => {
  const unwrapping = new Unwrapping(FACES, {
    type: "texture_coordinates",
    topology: "body",
    coordinates: new Uint16Array(12),
    copies: new Uint16Array([0, 2]),
    corners: new Uint16Array([3, 6, 8]),
    cornerVertices: new Uint16Array([4, 4, 5]),
    face: new Uint16Array(18),
  });
  assert.deepEqual([...unwrapping.faces], [0, 2, 1, 4, 1, 3, 4, 3, 5, 1, 2, 3]);
  assert.equal(unwrapping.vertices, 6);
  const positions = new Float32Array(20);
  positions.set(CORNERS);
  const normals = new Float32Array(18);
  sumNormals(positions.subarray(0, 12), FACES, normals);
  unwrapping.fill(positions);
  unwrapping.fill(normals);
  assert.deepEqual([...positions], [...CORNERS, ...CORNERS.slice(0, 3), ...CORNERS.slice(6, 9), 0, 0]);
  assert.deepEqual([...normals.subarray(12)], [...normals.subarray(0, 3), ...normals.subarray(6, 9)]);
  assert.deepEqual([...FACES.subarray(3, 6)], [0, 1, 3]);
});

test("the floor does not follow a jump or a deep outlier", () => {
  const floor = new FloorLevel();
  assert.equal(floor.known, false);
  for (let frame = 0; frame < 40; frame++) floor.add(frame > 22 && frame < 35 ? -0.9 : -1.4, frame / 20);
  floor.add(-3, 2);
  assert.ok(Math.abs(settled(floor) + 1.4) < 0.01, String(floor.level));
});

test("the floor follows who goes to another one", () => {
  const floor = new FloorLevel();
  for (let frame = 0; frame < 80; frame++) floor.add(frame < 40 ? -1.4 : -1.1, frame / 20);
  assert.ok(Math.abs(settled(floor) + 1.1) < 0.01, String(floor.level));
});

test("the floor is under the feet from the first frame on", () => {
  const floor = new FloorLevel();
  floor.add(-1.25, 0);
  assert.equal(floor.level, -1.25);
});

function settled(floor: FloorLevel): number {
  while (floor.settle(0.1));
  return floor.level;
}
