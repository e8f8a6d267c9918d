"""Oriented points with areas: surfels, the discs that a surface is splatted from.

Pfister et al., Surfels: Surface Elements as Rendering Primitives (2000).

Shapes: N points, F triangles, M samples of triangles.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, ByteArray, FloatArray, Int32Array

_MOST_PARTS = 6


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


@dataclass(frozen=True, slots=True)
class Samples:
    """Points inside triangles.

    Args:
        surfels: M of them.
        corners: (M, 3) vertices of the triangles.
        places: (M, 3) barycentric coordinates in them.
    """

    surfels: Surfels
    corners: Int32Array
    places: FloatArray

    def interpolated(self, colours: ByteArray) -> ByteArray:
        """(M, 3) colours from those of the vertices (N, 3)."""
        mixed = np.einsum("mk,mkc->mc", self.places, colours[self.corners].astype(np.float32))
        return np.asarray(np.rint(mixed), np.uint8)


def sampled(surfels: Surfels, faces: Int32Array, longest_m: float) -> tuple[Surfels, Samples]:
    """Samples the triangles that have a longer edge than `longest_m`, and takes their area from their corners.

    Where clothes pull triangles long, such as the cloth of a skirt between the legs, the vertices lie at the rims of
    what they stand for, and the splat between them would have a hole.

    Args:
        surfels: N vertices; triangles with a corner of no area are not sampled.
        faces: (F, 3).
        longest_m: edges are split into about as many parts of this length, at most six.
    """
    a, b, c = (np.take(surfels.points, corner, axis=0) for corner in faces.T)
    squared = np.maximum(np.maximum(_squared(b - a), _squared(c - b)), _squared(a - c))
    large = np.flatnonzero(squared > np.float32(longest_m**2))
    large = large[(surfels.areas[faces[large]] > 0).all(axis=1)]
    a, b, c = a[large], b[large], c[large]
    cross = np.cross(b - a, c - a)
    twice_area = np.sqrt(_squared(cross))
    normals, areas = cross / np.maximum(twice_area, np.float32(1e-12))[:, None], twice_area / 2
    taken = np.bincount(faces[large].ravel(), np.repeat(areas / 3, 3), len(surfels))
    left = np.maximum(surfels.areas - taken, 0).astype(np.float32)
    parts = np.clip(np.rint(np.sqrt(squared[large]) / np.float32(longest_m)), 1, _MOST_PARTS).astype(int)
    # Each triangle as often as it has samples, and the number of the sample in it.
    row = np.repeat(np.arange(len(large)), parts**2)
    number = np.arange(len(row)) - np.repeat(np.cumsum(parts**2) - parts**2, parts**2)
    places = _PLACES[_FIRST_PLACE[parts[row]] + number]
    corners = faces[large[row]]
    points = np.einsum("mk,mkd->md", places, surfels.points[corners])
    samples = Surfels(points, normals[row].astype(np.float32), areas[row] / np.square(parts[row]).astype(np.float32))
    return Surfels(surfels.points, surfels.normals, left), Samples(samples, corners, places)


def _places(parts: int) -> FloatArray:
    """(P², 3) barycentric coordinates of the centroids of the equal triangles that halve, third… the edges."""
    row, column = (index.ravel() for index in np.mgrid[:parts, :parts])
    upright = np.stack([row, column], 1)[row + column < parts] + 1 / 3
    inverted = np.stack([row, column], 1)[row + column < parts - 1] + 2 / 3
    along = np.concatenate([upright, inverted]) / parts
    return np.column_stack([1 - along.sum(axis=1), along]).astype(np.float32)


# Places of all numbers of parts, from 0 on, one after the other, and where those of each begin.
_PLACES = np.concatenate([_places(parts) for parts in range(1, _MOST_PARTS + 1)])
_FIRST_PLACE = np.cumsum([0, *(parts**2 for parts in range(_MOST_PARTS))])


def _squared(vectors: FloatArray) -> FloatArray:
    """Squared lengths of the rows."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors), np.float32)
