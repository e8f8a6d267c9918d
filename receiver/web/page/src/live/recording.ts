/** What a session has left on the disk: records and meshes of its frames. */

import type { Api } from "../shell/api.ts";
import type { FrameRecord, MeshKind } from "../protocol/messages.ts";
import type { StoredGeometry } from "../scene/person-mesh.ts";

const CHUNK = 64;

export interface StoredSession {
  number: number;
  /** Number of the last frame on the disk. */
  last_seq: number;
}

export interface StoredPerson {
  id: number;
  geometry: StoredGeometry;
}

export interface StoredFrame {
  record: FrameRecord;
  people: StoredPerson[];
}

export class Recording {
  readonly session: number;
  readonly #api: Api;
  /** Records from one request, in order. */
  #chunk: FrameRecord[] = [];
  #chunkFrom = -1;

  constructor(api: Api, session: number) {
    this.#api = api;
    this.session = session;
  }

  /** The first frame at or after `seq`, or null after the last one. */
  async record(seq: number, signal: AbortSignal): Promise<FrameRecord | null> {
    const known =
      seq >= this.#chunkFrom && this.#chunkFrom >= 0 ? this.#chunk.find((record) => record.seq >= seq) : undefined;
    if (known) return known;
    const path = `/api/sessions/${this.session}/frames?after=${seq - 1}&limit=${CHUNK}`;
    const { frames } = await this.#api.get<{ frames: FrameRecord[] }>(path, signal);
    [this.#chunk, this.#chunkFrom] = [frames, seq];
    return frames[0] ?? null;
  }

  /** A record with its meshes. */
  async frame(record: FrameRecord, kind: MeshKind, signal: AbortSignal): Promise<StoredFrame> {
    const { readMesh } = await import("../scene/mesh-file.ts");
    const people = await Promise.all(
      record.people.map(async (person) => {
        const path = person[kind] ?? person.surface ?? person.body;
        if (!path?.endsWith(".glb")) return null;
        return { id: person.id, geometry: await readMesh(await this.#api.bytes(`/${path}`, signal)) };
      }),
    );
    return { record, people: people.filter((person) => person !== null) };
  }
}
