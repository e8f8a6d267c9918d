"""Splits the triangles of a mesh near places that need more detail than its grid has, such as the eyes and the mouth.

An edge whose middle lies within such a place is halved while it is too long, and the triangles on both of its sides
with it, so that a closed mesh stays closed.

Shapes: V vertices, F triangles, E edges, K places.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.spatial.distance import cdist

from common.arrays import BoolArray, FloatArray, Int32Array, IntArray

_MOST_PASSES = 4
# Upper limit of the edges of a mesh, which a grid of 24 nodes has.
_LONGEST_EDGE_M = 0.25
# Which triangles replace one, by the edges that are halved: bit k is the edge from corner k to the next one.  Corners
# are 0, 1 and 2, and 3 + k is the middle of edge k.
_PARTS: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 1, 2),),
    ((0, 3, 2), (3, 1, 2)),
    ((0, 1, 4), (0, 4, 2)),
    ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    ((0, 1, 5), (5, 1, 2)),
    ((0, 3, 5), (3, 1, 2), (3, 2, 5)),
    ((0, 1, 5), (5, 1, 4), (5, 4, 2)),
    ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
)
_CORNERS = [np.array(parts).ravel() for parts in _PARTS]


@dataclass(frozen=True, slots=True, eq=False)
class DetailedPlaces:
    """Spheres in which a mesh gets short edges.

    Args:
        centres: (K, 3) metres.
        radii_m: (K,).
        edges_m: (K,) greatest length of an edge there.
    """

    centres: FloatArray
    radii_m: FloatArray
    edges_m: FloatArray

    def joined(self, other: Self) -> Self:
        """These and others."""
        return type(self)(*(np.concatenate([getattr(each, name) for each in (self, other)]) for name in self.__slots__))

    def too_long(self, middles: FloatArray, lengths_m: FloatArray) -> BoolArray:
        """(E,) whether edges with these middles (E, 3) and lengths (E,) are too long."""
        inside = cdist(middles, self.centres) <= self.radii_m
        return np.asarray((inside & (lengths_m[:, None] > self.edges_m)).any(axis=1))


def subdivided(vertices: FloatArray, faces: Int32Array, places: DetailedPlaces) -> tuple[FloatArray, Int32Array]:
    """Vertices (V', 3), first the given (V, 3), and triangles (F', 3) with edges halved up to four times."""
    near = _near(vertices, faces, places)
    done, left = [faces[~near]], faces[near]
    for _ in range(_MOST_PASSES):
        edges, edge_of_side = _edges(left)
        starts, ends = vertices[edges[:, 0]], vertices[edges[:, 1]]
        middles = np.asarray((starts + ends) / 2, np.float32)
        halved = np.flatnonzero(places.too_long(middles, np.linalg.norm(ends - starts, axis=1)))
        if not len(halved):
            break
        middle_of_edge = np.full(len(edges), -1, np.int32)
        middle_of_edge[halved] = np.arange(len(vertices), len(vertices) + len(halved), dtype=np.int32)
        vertices = np.concatenate([vertices, middles[halved]])
        # The sides of a triangle that was not split stay as they are.
        kept, left = _split(left, middle_of_edge[edge_of_side])
        done.append(kept)
    return vertices, np.concatenate([*done, left])


def _near(vertices: FloatArray, faces: Int32Array, places: DetailedPlaces) -> BoolArray:
    """(F,) whether a triangle may have an edge that is halved: a corner is at most half an edge from the sphere around
    all places."""
    centre = places.centres.mean(axis=0)
    radius_m = (np.linalg.norm(places.centres - centre, axis=1) + places.radii_m).max()
    offsets = vertices - centre
    distance_m = np.sqrt(np.einsum("vd,vd->v", offsets, offsets))
    around = faces[(distance_m < radius_m + _LONGEST_EDGE_M / 2)[faces[:, 0]]]
    corners = np.ascontiguousarray(vertices.T)[:, around.T]
    longest_m = np.sqrt(np.square(corners - corners[:, [1, 2, 0]]).sum(axis=0).max(initial=0))
    near: BoolArray = distance_m <= radius_m + longest_m / 2
    return near[faces[:, 0]] | near[faces[:, 1]] | near[faces[:, 2]]


def _edges(faces: Int32Array) -> tuple[IntArray, IntArray]:
    """The edges (E, 2), and (F, 3) which of them is the side of each triangle from one corner to the next."""
    low, high = np.minimum(faces, faces[:, [1, 2, 0]]), np.maximum(faces, faces[:, [1, 2, 0]])
    keys, edge_of_side = np.unique(low.astype(np.int64) << 32 | high, return_inverse=True)
    return np.column_stack([keys >> 32, keys & 0xFFFFFFFF]), edge_of_side.reshape(-1, 3)


def _split(faces: Int32Array, middles: Int32Array) -> tuple[Int32Array, Int32Array]:
    """The triangles of (F, 3) that stay, and those in place of the others; a middle (F, 3) of −1 is not used."""
    pattern = (middles >= 0) @ np.array([1, 2, 4])
    points = np.hstack([faces, middles])
    parts = [points[pattern == number][:, corners].reshape(-1, 3) for number, corners in enumerate(_CORNERS)]
    return parts[0], np.concatenate(parts[1:])
