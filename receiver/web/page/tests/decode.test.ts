import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeMessage, ProtocolError } from "../src/protocol/decode.ts";
import type { Part } from "../src/protocol/messages.ts";
import { PartAssembly } from "../src/protocol/parts.ts";

/** Length, header padded to four bytes, payload. */
function message(header: object, payload: readonly number[] = []): ArrayBuffer {
  let text = JSON.stringify(header);
  text += " ".repeat((4 - (text.length % 4)) % 4);
  const bytes = new Uint8Array(4 + text.length + payload.length);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(new TextEncoder().encode(text), 4);
  bytes.set(payload, 4 + text.length);
  return bytes.buffer;
}

const PERSON = { id: 3, topology: null, origin: [0, 1, 2], scale: [1, 1, 1], vertices: { offset: 0, count: 1 } };
const FRAME = { type: "frame", id: 7, session: 2, record: { seq: 1 }, fps: 20 };
const VERTEX_AND_FACE = [1, 0, 2, 0, 3, 1, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0];

test("a topology has indices of its width", () => {
  const faces = { offset: 0, count: 1 };
  const short = decodeMessage(
    message({ type: "topology", name: "body", vertices: 3, faces: { ...faces, type: "u16" } }, [0, 0, 1, 0, 2, 0]),
  );
  assert.ok(short.type === "topology" && short.faces instanceof Uint16Array);
  assert.deepEqual([...short.faces], [0, 1, 2]);
  const wide = decodeMessage(
    message(
      { type: "topology", name: "body", vertices: 3, faces: { ...faces, type: "u32" } },
      [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0],
    ),
  );
  assert.ok(wide.type === "topology" && wide.faces instanceof Uint32Array);
  assert.deepEqual([...wide.faces], [0, 1, 65536]);
});

test("a person's arrays are views of the message", () => {
  const person = { ...PERSON, faces: { offset: 8, count: 1, type: "u16" } };
  const buffer = message({ ...FRAME, people: [person] }, VERTEX_AND_FACE);
  const frame = decodeMessage(buffer);
  assert.ok(frame.type === "frame");
  const [decoded] = frame.people;
  assert.deepEqual([...decoded!.vertices], [1, 2, 259]);
  assert.deepEqual([...(decoded!.topology as Uint16Array)], [0, 1, 2]);
  assert.equal(decoded!.vertices.buffer, buffer);
  assert.equal(decoded!.colours, null);
});

test("what is not sent is empty or null", () => {
  const frame = decodeMessage(message({ ...FRAME, people: [] }));
  assert.ok(frame.type === "frame");
  assert.deepEqual(frame.link, {});
  assert.equal(frame.traffic, null);
});

test("texture coordinates have indices of their width", () => {
  const section = (offset: number, count: number, type?: string) => ({ offset, count, type });
  const decoded = decodeMessage(
    message(
      {
        type: "texture_coordinates",
        topology: "body",
        coordinates: section(0, 2),
        copies: section(8, 1, "u16"),
        corners: section(12, 1, "u32"),
        corner_vertices: section(16, 1, "u16"),
      },
      [0, 0, 255, 255, 1, 0, 2, 0, 7, 0, 0, 0, 0, 0, 1, 0, 9, 0, 0, 0],
    ),
  );
  assert.ok(decoded.type === "texture_coordinates");
  assert.deepEqual([...decoded.coordinates], [0, 65535, 1, 2]);
  assert.deepEqual([[...decoded.copies], [...decoded.corners], [...decoded.cornerVertices]], [[7], [65536], [9]]);
});

test("a texture is a picture of a person", async () => {
  const texture = decodeMessage(message({ type: "texture", session: 2, person: 5, mime: "image/jpeg" }, [9, 8]));
  assert.ok(texture.type === "texture");
  assert.deepEqual([texture.session, texture.person, texture.picture.type], [2, 5, "image/jpeg"]);
  assert.deepEqual([...new Uint8Array(await texture.picture.arrayBuffer())], [9, 8]);
});

const part = (offset: number, size: number, content: number[]): Part => {
  const decoded = decodeMessage(message({ type: "part", id: 1, offset, size }, content));
  assert.ok(decoded.type === "part");
  return decoded;
};

test("a message is complete with its last part", () => {
  const parts = new PartAssembly();
  assert.equal(parts.add(part(0, 5, [1, 2, 3])), null);
  assert.deepEqual([...new Uint8Array(parts.add(part(3, 5, [4, 5]))!)], [1, 2, 3, 4, 5]);
  assert.deepEqual([...new Uint8Array(parts.add(part(0, 1, [6]))!)], [6]);
});

test("a message whose first part comes again is void until then", () => {
  const parts = new PartAssembly();
  parts.add(part(0, 5, [1, 2, 3]));
  assert.equal(parts.add(part(0, 3, [7, 8])), null);
  assert.deepEqual([...new Uint8Array(parts.add(part(2, 3, [9]))!)], [7, 8, 9]);
});

test("parts that do not fit together are refused", () => {
  const parts = new PartAssembly();
  parts.add(part(0, 5, [1, 2]));
  for (const wrong of [part(3, 5, [4]), part(2, 6, [3]), part(2, 5, [3, 4, 5, 6])]) {
    assert.throws(() => parts.add(wrong), ProtocolError);
  }
});

const broken: [string, ArrayBuffer][] = [
  ["nothing", new ArrayBuffer(0)],
  ["a header that is cut", message({ type: "topology" }).slice(0, 12)],
  [
    "a header that is not JSON",
    (() => {
      const buffer = message({ a: 1 });
      new Uint8Array(buffer)[4] = 0;
      return buffer;
    })(),
  ],
  ["an unknown type", message({ type: "greeting" })],
  [
    "vertices outside of the message",
    message(
      { ...FRAME, people: [{ ...PERSON, topology: "body", vertices: { offset: 0, count: 9 } }] },
      VERTEX_AND_FACE,
    ),
  ],
  [
    "vertices before the payload",
    message(
      { ...FRAME, people: [{ ...PERSON, topology: "body", vertices: { offset: -4, count: 1 } }] },
      VERTEX_AND_FACE,
    ),
  ],
  ["a person without triangles", message({ ...FRAME, people: [PERSON] }, VERTEX_AND_FACE)],
];
for (const [name, buffer] of broken) {
  test(`${name} is refused`, () => assert.throws(() => decodeMessage(buffer), ProtocolError));
}
