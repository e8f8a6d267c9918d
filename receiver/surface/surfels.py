"""Oriented points with areas: surfels, the discs that a surface is splatted from.

Pfister et al., Surfels: Surface Elements as Rendering Primitives (2000).

Shapes: N points.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import BoolArray, FloatArray

_MAXIMUM_SIDE = 4
# Neighbours that an unknown area is estimated from, and its lower bound, for coincident points.
_NEIGHBOURS = 8
_MINIMUM_AREA_M2 = 1e-10


@dataclass(frozen=True, slots=True)
class Surfels:
    """Discs on a surface.

    Args:
        points: (N, 3) centres, metres.
        normals: (N, 3) outward unit normals.
        areas: (N,) square metres.
    """

    points: FloatArray
    normals: FloatArray
    areas: FloatArray

    def __len__(self) -> int:
        return len(self.points)

    def chosen(self, rows: BoolArray) -> "Surfels":
        """Some of them."""
        return Surfels(self.points[rows], self.normals[rows], self.areas[rows])

    def joined(self, *others: "Surfels") -> "Surfels":
        """These and others."""
        return Surfels(
            *(np.concatenate([getattr(part, name) for part in (self, *others)]) for name in Surfels.__slots__)
        )

    def subdivided(self, spacing_m: float) -> "Surfels":
        """Splits large surfels into k × k smaller ones on their tangent planes, at most `spacing_m` apart, k ≤ 4.

        The splat of points that lie farther apart than the voxels of a grid would have gaps.
        """
        side = np.clip(np.ceil(np.sqrt(self.areas) / np.float32(spacing_m)), 1, _MAXIMUM_SIDE).astype(int)
        parts = [self._split(side == k, k) for k in range(1, _MAXIMUM_SIDE + 1) if (side == k).any()]
        return parts[0].joined(*parts[1:])

    def _split(self, chosen: BoolArray, side: int) -> "Surfels":
        """`side`² surfels for each of the chosen ones."""
        split = self.chosen(chosen)
        if side == 1:
            return split
        points, normals, areas = split.points, split.normals, split.areas
        width = np.sqrt(areas)[:, None]
        across, along = (width * axis for axis in tangents(normals))
        offsets = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side) - np.float32(0.5)
        moved = [points + u * across + v * along for u in offsets for v in offsets]
        count = side**2
        return Surfels(np.concatenate(moved), np.tile(normals, (count, 1)), np.tile(areas / np.float32(count), count))


def tangents(normals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two unit vectors (N, 3) that form a right-handed orthonormal basis with each unit normal (N, 3).

    Duff et al., Building an Orthonormal Basis, Revisited (2017).
    """
    x, y, z = normals.T
    sign = np.where(z < 0, np.float32(-1), np.float32(1))
    a = -1 / (sign + z)
    b = x * y * a
    first = np.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=1)
    return first, np.stack([b, sign + y * y * a, -y], axis=1)


def estimated_areas(points: FloatArray) -> FloatArray:
    """(N,) areas in square metres of points (N, 3) of unknown density.

    The area is that of the disc that reaches the eighth neighbour, divided by the number of points on it.
    """
    count = min(_NEIGHBOURS, len(points) - 1)
    distance, _ = cKDTree(points).query(points, k=[count + 1])
    area = np.pi * np.square(distance[:, 0]) / (count + 0.5)
    return np.asarray(np.maximum(area, _MINIMUM_AREA_M2), np.float32)
