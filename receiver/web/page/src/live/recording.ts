/** What a session has left on the disk: records and meshes of its frames. */

import { address, type Api } from "../shell/api.ts";
import type { FrameRecord, MeshKind } from "../protocol/messages.ts";
import type { StoredMesh } from "../scene/mesh-file.ts";

const CHUNK = 64;

export interface StoredPerson {
  id: number;
  mesh: StoredMesh;
}

export interface StoredFrame {
  record: FrameRecord;
  people: StoredPerson[];
}

export class Recording {
  /** The receiver's path of the session. */
  readonly path: string;
  readonly #api: Api;
  /** Records from one request, in order. */
  #chunk: FrameRecord[] = [];
  #chunkFrom = Infinity;

  constructor(api: Api, path: string) {
    this.#api = api;
    this.path = path;
  }

  /** The first frame at or after `seq`, or null after the last one. */
  async record(seq: number, signal: AbortSignal): Promise<FrameRecord | null> {
    const known = seq >= this.#chunkFrom ? this.#chunk.find((record) => record.seq >= seq) : undefined;
    if (known) return known;
    const path = `${this.path}/frames?after=${seq - 1}&limit=${CHUNK}`;
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
        if (!path || !/\.gl(b|tf)$/.test(path)) return null;
        const file = `${this.path}/${path}`;
        const folder = address(file.slice(0, file.lastIndexOf("/") + 1));
        return { id: person.id, mesh: await readMesh(await this.#api.bytes(file, signal), folder) };
      }),
    );
    return { record, people: people.filter((person) => person !== null) };
  }
}
