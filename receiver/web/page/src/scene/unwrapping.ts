/** A mesh whose vertices on seams of its texture are copied, so that each vertex has one place in the texture. */

import type { Indices, TextureCoordinates } from "../protocol/messages.ts";

export class Unwrapping {
  /** Triangles over the mesh's vertices and, behind them, the copies. */
  readonly faces: Indices;
  /** u, v interleaved, of 65,535. */
  readonly coordinates: Uint16Array<ArrayBuffer>;
  /** Place in the chart of faces and opacity, of 65,535, interleaved. */
  readonly face: Uint16Array<ArrayBuffer>;
  readonly #copies: Indices;

  /** @param faces the mesh's triangles. */
  constructor(faces: Indices, { coordinates, copies, corners, cornerVertices, face }: TextureCoordinates) {
    this.faces = coordinates.length > 2 * 65535 ? new Uint32Array(faces) : faces.slice();
    corners.forEach((corner, k) => (this.faces[corner] = cornerVertices[k]!));
    this.coordinates = coordinates;
    this.face = face;
    this.#copies = copies;
  }

  /** Number of vertices with the copies. */
  get vertices(): number {
    return this.coordinates.length / 2;
  }

  /** Gives the copies the x, y, z of their vertices. */
  fill(values: Uint16Array | Float32Array | Uint8Array): void {
    let to = 3 * (this.vertices - this.#copies.length);
    for (const vertex of this.#copies) {
      for (let axis = 0; axis < 3; axis++) values[to++] = values[3 * vertex + axis]!;
    }
  }
}
