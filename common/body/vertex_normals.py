"""Normals of meshes whose triangles stay the same."""

import numpy as np
from scipy import sparse

from common.arrays import FloatArray, IntArray


class VertexNormals:
    """Area-weighted vertex normals of a fixed triangulation."""

    def __init__(self, faces: IntArray, vertex_count: int) -> None:
        self._faces = np.ascontiguousarray(faces.T)
        column = np.tile(np.arange(len(faces)), 3)
        ones = np.ones(column.size, np.float32)
        self._sum = sparse.csr_matrix((ones, (self._faces.ravel(), column)), shape=(vertex_count, len(faces)))

    def __call__(self, vertices: FloatArray) -> FloatArray:
        """(V, 3) → (V, 3) unit normals, outward."""
        a, b, c = (vertices[index] for index in self._faces)
        u, v = b - a, c - a
        cross = np.empty_like(u)
        cross[:, 0] = u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1]
        cross[:, 1] = u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2]
        cross[:, 2] = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        normals = np.asarray(self._sum @ cross, np.float32)
        length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
        return np.asarray(normals / np.maximum(length, 1e-12)[:, None], np.float32)
