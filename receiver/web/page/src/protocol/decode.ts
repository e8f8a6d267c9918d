/** Reads the binary messages of the live stream into typed arrays that share the message's memory. */

import type { BinaryMessage, Indices, LiveFrame, LivePerson, Vector } from "./messages.ts";

/** The receiver sent something that this page does not understand. */
export class ProtocolError extends Error {}

interface Section {
  offset: number;
  count: number;
  type?: "u16" | "u32";
}

interface PersonHeader {
  id: number;
  topology: string;
  origin: Vector;
  scale: Vector;
  vertices: Section;
  colours?: Section;
}

type FrameHeader = Omit<LiveFrame, "people"> & { people: PersonHeader[] };

type Header =
  | FrameHeader
  | { type: "topology"; name: string; faces: Section; limbs?: Section }
  | {
      type: "texture_coordinates";
      topology: string;
      coordinates: Section;
      copies: Section;
      corners: Section;
      corner_vertices: Section;
      face: Section;
    }
  | { type: "texture" | "face"; session: number; person: number; mime: string }
  | { type: "preview"; session: number; mime: string };

const LENGTH_BYTES = 4;
const utf8 = new TextDecoder();

/**
 * Decodes a message: uint32 length of the header, the header as JSON, the payload; everything is little-endian.
 *
 * @throws ProtocolError if the message is cut short or refers to bytes outside of it.
 */
export function decodeMessage(message: ArrayBuffer): BinaryMessage {
  if (message.byteLength < LENGTH_BYTES) throw new ProtocolError("a message without header");
  const start = LENGTH_BYTES + new DataView(message).getUint32(0, true);
  if (start > message.byteLength) throw new ProtocolError("a message that is shorter than its header");
  if (start % 4 !== 0) throw new ProtocolError("a message whose payload is not aligned");
  const header = parse(utf8.decode(new Uint8Array(message, LENGTH_BYTES, start - LENGTH_BYTES)));
  const payload = new Payload(message, start);
  switch (header.type) {
    case "topology": {
      const { name, faces, limbs } = header;
      const bytes = limbs ? payload.bytes(limbs.offset, limbs.count) : null;
      return { type: "topology", name, faces: payload.indices(faces, 3), limbs: bytes };
    }
    case "texture_coordinates":
      return {
        type: "texture_coordinates",
        topology: header.topology,
        coordinates: payload.shorts(header.coordinates.offset, 2 * header.coordinates.count),
        copies: payload.indices(header.copies),
        corners: payload.indices(header.corners),
        cornerVertices: payload.indices(header.corner_vertices),
        face: payload.shorts(header.face.offset, 3 * header.face.count),
      };
    case "frame":
      return { ...header, people: header.people.map((person) => decodePerson(person, payload)) };
    case "texture":
    case "face": {
      const { type, session, person, mime } = header;
      return { type, session, person, picture: new Blob([payload.rest()], { type: mime }) };
    }
    case "preview": {
      const { session, mime } = header;
      return { type: "preview", session, picture: new Blob([payload.rest()], { type: mime }) };
    }
    default:
      throw new ProtocolError("a message of an unknown type");
  }
}

function parse(text: string): Header {
  try {
    return JSON.parse(text) as Header;
  } catch (error) {
    throw new ProtocolError("a header that is not JSON", { cause: error });
  }
}

function decodePerson(person: PersonHeader, payload: Payload): LivePerson {
  return {
    ...person,
    vertices: payload.shorts(person.vertices.offset, 3 * person.vertices.count),
    colours: person.colours ? payload.bytes(person.colours.offset, 3 * person.colours.count) : null,
  };
}

/** The arrays of a message. Hosts are little-endian like the wire: every browser's is. */
class Payload {
  readonly #message: ArrayBuffer;
  readonly #start: number;

  constructor(message: ArrayBuffer, start: number) {
    this.#message = message;
    this.#start = start;
  }

  /** @param each number of indices in an element. */
  indices(section: Section, each = 1): Indices {
    const length = each * section.count;
    if (section.type !== "u32") return this.shorts(section.offset, length);
    return new Uint32Array(this.#message, this.#at(section.offset, 4 * length), length);
  }

  shorts(offset: number, length: number): Uint16Array<ArrayBuffer> {
    return new Uint16Array(this.#message, this.#at(offset, 2 * length), length);
  }

  bytes(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#message, this.#at(offset, length), length);
  }

  rest(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#message, this.#start);
  }

  #at(offset: number, bytes: number): number {
    const inside = offset >= 0 && bytes >= 0 && this.#start + offset + bytes <= this.#message.byteLength;
    if (!inside || offset % 4 !== 0) throw new ProtocolError("a message that refers to bytes outside of it");
    return this.#start + offset;
  }
}
