import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeMessage, ProtocolError } from "../src/protocol/decode.ts";

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

const PERSON = { id: 3, topology: "body", origin: [0, 1, 2], scale: [1, 1, 1], vertices: { offset: 0, count: 1 } };
const FRAME = { type: "frame", id: 7, session: 2, record: { seq: 1 }, fps: 20 };
const VERTEX = [1, 0, 2, 0, 3, 1, 0, 0];

test("a topology has indices of its width", () => {
  const faces = { offset: 0, count: 1 };
  const short = decodeMessage(
    message({ type: "topology", name: "body", vertices: 3, faces: { ...faces, type: "u16" } }, [0, 0, 1, 0, 2, 0]),
  );
  assert.ok(short.type === "topology" && short.limbs === null);
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
  const buffer = message({ ...FRAME, people: [PERSON] }, VERTEX);
  const frame = decodeMessage(buffer);
  assert.ok(frame.type === "frame");
  const [decoded] = frame.people;
  assert.deepEqual([...decoded!.vertices], [1, 2, 259]);
  assert.equal(decoded!.vertices.buffer, buffer);
  assert.equal(decoded!.colours, null);
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
        face: section(20, 2),
      },
      [0, 0, 255, 255, 1, 0, 2, 0, 7, 0, 0, 0, 0, 0, 1, 0, 9, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0],
    ),
  );
  assert.ok(decoded.type === "texture_coordinates");
  assert.deepEqual([...decoded.coordinates], [0, 65535, 1, 2]);
  assert.deepEqual([...decoded.face], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([[...decoded.copies], [...decoded.corners], [...decoded.cornerVertices]], [[7], [65536], [9]]);
});

test("a texture, or a face, is a picture of a person", async () => {
  const face = decodeMessage(message({ type: "face", session: 2, person: 5, mime: "image/jpeg" }, [9, 8]));
  assert.ok(face.type === "face" && face.picture.type === "image/jpeg");
  const texture = decodeMessage(message({ type: "texture", session: 2, person: 5, mime: "image/jpeg" }, [9, 8]));
  assert.ok(texture.type === "texture");
  assert.deepEqual([texture.session, texture.person, texture.picture.type], [2, 5, "image/jpeg"]);
  assert.deepEqual([...new Uint8Array(await texture.picture.arrayBuffer())], [9, 8]);
});

const broken: [string, ArrayBuffer][] = [
  ["nothing", new ArrayBuffer(0)],
  ["a header that is cut", message({ type: "topology" }).slice(0, 12)],
  ["a header that is not JSON", Uint8Array.of(4, 0, 0, 0, 0x7b, 0x7b, 0x7b, 0x7b).buffer],
  ["an unknown type", message({ type: "greeting" })],
  [
    "vertices outside of the message",
    message({ ...FRAME, people: [{ ...PERSON, vertices: { offset: 0, count: 9 } }] }, VERTEX),
  ],
  [
    "vertices before the payload",
    message({ ...FRAME, people: [{ ...PERSON, vertices: { offset: -4, count: 1 } }] }, VERTEX),
  ],
];
for (const [name, buffer] of broken) {
  test(`${name} is refused`, () => assert.throws(() => decodeMessage(buffer), ProtocolError));
}
