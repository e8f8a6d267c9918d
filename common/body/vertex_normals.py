"""Normals of meshes whose triangles stay the same."""

import numpy as np

from common.arrays import FloatArray, Int32Array, IntArray
from common.body.triangles import corner_matrix, triangle_normals


class VertexNormals:
    """Area-weighted vertex normals of a fixed triangulation, and the areas of its vertices."""

    def __init__(self, faces: IntArray | Int32Array, vertex_count: int) -> None:
        self._faces = faces
        self._sum = corner_matrix(faces, vertex_count).T.tocsr()

    def __call__(self, vertices: FloatArray) -> FloatArray:
        """(V, 3) → (V, 3) unit normals, outward."""
        return self._units(triangle_normals(vertices, self._faces))

    def with_areas(self, vertices: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Unit normals (V, 3), and a third of the area of the triangles around each vertex (V,), of vertices (V, 3)."""
        cross = triangle_normals(vertices, self._faces)
        areas = self._sum @ (np.sqrt(np.einsum("ij,ij->i", cross, cross)) / 6)
        return self._units(cross), np.asarray(areas, np.float32)

    def _units(self, cross: FloatArray) -> FloatArray:
        normals = np.asarray(self._sum @ cross, np.float32)
        length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
        return np.asarray(normals / np.maximum(length, 1e-12)[:, None], np.float32)
