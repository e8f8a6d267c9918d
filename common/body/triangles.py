"""Triangles and their corners: normals, and sums over the triangles around each vertex."""

import numpy as np
from scipy import sparse

from common.arrays import FloatArray, Int32Array, IntArray


def triangle_normals(vertices: FloatArray, faces: Int32Array | IntArray) -> FloatArray:
    """(F, 3) outward normals, each twice as long as the triangle's area: the cross products of two edges."""
    # Several times faster with the components along the first axis.
    corner_a, corner_b, corner_c = (np.ascontiguousarray(vertices.T).take(faces[:, k], axis=1) for k in range(3))
    (x, y, z), (u, v, w) = corner_b - corner_a, corner_c - corner_a
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def corner_matrix(faces: Int32Array | IntArray, vertex_count: int) -> sparse.csr_array:
    """(F, V) float32: 1 where a vertex is a corner of a triangle. Transposed, it sums over a vertex's triangles."""
    starts = np.arange(0, faces.size + 1, 3, dtype=np.int32)
    return sparse.csr_array((np.ones(faces.size, np.float32), faces.ravel(), starts), shape=(len(faces), vertex_count))
