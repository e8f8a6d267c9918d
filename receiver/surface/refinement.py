"""Moves the vertices of a mesh onto the surface that its oriented points describe, where their normals agree.

A grid rounds off what is smaller than its voxels.  The points still have it, so each vertex moves along their normal,
but never by more than about a voxel; the triangles stay, and so the mesh stays closed.

Shapes: V vertices, K neighbours.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import ByteArray, FloatArray, IntArray
from receiver.surface.surfels import Surfels

NEIGHBOURS = 4


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The points nearest to each vertex, with weights that leave out those on other sides of the body.

    Args:
        nearest: (K, V) indices of points.
        weights: (K, V); each column sums to 1, or to 0 where no point agrees with the vertex's normal.
    """

    nearest: IntArray
    weights: FloatArray

    @classmethod
    def from_surfels(cls, vertices: FloatArray, normals: FloatArray, surfels: Surfels) -> "Neighbourhood":
        """Finds the points nearest to vertices (V, 3) with unit normals (V, 3).

        The weights are Gaussian in the distance, with the distance of the farthest neighbour as the standard deviation,
        times the squared cosine between the normals.
        """
        tree = cKDTree(surfels.points, balanced_tree=False, compact_nodes=False)
        distance, nearest = tree.query(vertices, k=list(range(1, NEIGHBOURS + 1)))
        distance, nearest = distance.T.astype(np.float32, order="C"), np.ascontiguousarray(nearest.T)
        cosine = _dot(_gathered(surfels.normals, nearest), np.ascontiguousarray(normals.T)[:, None])
        spread = np.maximum(distance[-1], np.float32(1e-4))
        weights = np.exp(-0.5 * np.square(distance / spread)) * np.square(np.maximum(cosine, 0))
        return cls(nearest, weights / np.maximum(weights.sum(axis=0), np.float32(1e-6)))

    def blended(self, colours: ByteArray) -> ByteArray:
        """(V, 3) colours of the vertices from (N, 3) of the points; a vertex without weights takes the nearest."""
        weights = self.weights.copy()
        weights[0, weights.sum(axis=0) < 0.5] = 1.0
        weights /= weights.sum(axis=0)
        mixed = np.einsum("kv,kvc->vc", weights, colours[self.nearest].astype(np.float32))
        return np.asarray(np.rint(np.clip(mixed, 0, 255)), np.uint8)


def refined(vertices: FloatArray, neighbourhood: Neighbourhood, surfels: Surfels, limit_m: float) -> FloatArray:
    """The vertices (V, 3) after their move to the points' surface.

    The offset to it is the mean of the distances to the tangent planes, which lie outside a convex surface, and of the
    distances to the points themselves along the mean normal, which lie inside; on a sphere the errors cancel out.
    Larger moves than `limit_m` are reduced, to nothing from twice that on.
    """
    nearest, weights = neighbourhood.nearest, neighbourhood.weights
    normals = _gathered(surfels.normals, nearest)
    offsets = _gathered(surfels.points, nearest) - np.ascontiguousarray(vertices.T)[:, None]
    mean_normal = (normals * weights).sum(axis=1)
    mean_normal /= np.maximum(np.sqrt(_dot(mean_normal, mean_normal)), np.float32(1e-6))
    distance = (0.5 * weights * _dot(normals + mean_normal[:, None], offsets)).sum(axis=0)
    distance *= np.clip(2 - np.abs(distance) / np.float32(limit_m), 0, 1)
    return np.asarray(vertices + (mean_normal * distance).T, np.float32)


def _gathered(vectors: FloatArray, rows: IntArray) -> FloatArray:
    """Rows (K, V) of vectors (N, 3), components first: (3, K, V)."""
    return np.stack([np.ascontiguousarray(component)[rows] for component in vectors.T])


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    """Dot products along the first axis."""
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2], np.float32)
