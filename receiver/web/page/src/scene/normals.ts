/** Vertex normals of meshes in motion. */

import type { Indices } from "../protocol/messages.ts";

/**
 * Sums the cross products of the triangles at each vertex: normals weighted by area, which the shader normalises.
 *
 * @param positions x, y, z interleaved.
 * @param normals receives x, y, z of each vertex; at least as long as `positions`.
 */
export function sumNormals(positions: Float32Array, faces: Indices, normals: Float32Array): void {
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
