/** Vertex normals of quantised meshes, without dequantising them. */

import type { Indices } from "../protocol/messages.ts";

/**
 * Sums the cross products of the triangles at each vertex, in the lattice of the quantised positions.
 *
 * Positions are q = S⁻¹(p − o) with a diagonal S. Cross products of edges transform with the cofactors of S, which are
 * det(S)·S⁻¹: what comes out is S times the area-weighted normal, up to a factor common to all vertices. That is what a
 * vertex shader with the matrix S⁻ᵀ (`normalMatrix` of an object scaled by S) turns into the true normal when it
 * normalises. So no vertex is dequantised or normalised here.
 *
 * @param positions x, y, z interleaved.
 * @param normals receives x, y, z of each vertex; at least as long as `positions`.
 */
export function latticeNormals(positions: Uint16Array, faces: Indices, normals: Float32Array): void {
  normals.fill(0, 0, positions.length);
  const corners = faces.length;
  for (let corner = 0; corner < corners; corner += 3) {
    const a = 3 * faces[corner]!;
    const b = 3 * faces[corner + 1]!;
    const c = 3 * faces[corner + 2]!;
    const ax = positions[a]!;
    const ay = positions[a + 1]!;
    const az = positions[a + 2]!;
    const ux = positions[b]! - ax;
    const uy = positions[b + 1]! - ay;
    const uz = positions[b + 2]! - az;
    const vx = positions[c]! - ax;
    const vy = positions[c + 1]! - ay;
    const vz = positions[c + 2]! - az;
    const nx = uy * vz - uz * vy;
    const ny = uz * vx - ux * vz;
    const nz = ux * vy - uy * vx;
    normals[a] = normals[a]! + nx;
    normals[a + 1] = normals[a + 1]! + ny;
    normals[a + 2] = normals[a + 2]! + nz;
    normals[b] = normals[b]! + nx;
    normals[b + 1] = normals[b + 1]! + ny;
    normals[b + 2] = normals[b + 2]! + nz;
    normals[c] = normals[c]! + nx;
    normals[c + 1] = normals[c + 1]! + ny;
    normals[c + 2] = normals[c + 2]! + nz;
  }
}
