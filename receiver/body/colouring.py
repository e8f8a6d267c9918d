"""A colour for every surface point of somebody of whom some points were seen.

A seen point has its own colour; an unseen one that of its mirror image, if that was seen; what is left goes over from
the nearest known colours into the colour of its region.  Which colour a point takes from where follows from which were
seen, so it is worked out once, when colours arrive; a frame only puts its regions' colours in.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.mirror import MIRROR
from common.body.model import BodyModel
from common.frames import IDENTITIES
from common.texture.point_colours import PointColours

# Two places whose skin faces opposite ways count as this much farther apart: no colour goes through a limb.
NORMAL_M = 0.06
# A mirror image lies about as far off as the points lie apart.
_MIRROR_REACH_M = 0.06
# Known colours fade into the region's over this distance.
_FADE_M = 0.07
_NEIGHBOURS = 6


@dataclass(frozen=True, slots=True, eq=False)
class ColourBlend:
    """What a person's points take from what was learnt of them.

    Args:
        learnt: (2048, 3) colours in 0…1, times how much they count.
        remaining: (2048, 1) how much the region's colour counts beside, 0…1.
    """

    learnt: FloatArray
    remaining: FloatArray

    def over(self, point_colours: FloatArray) -> FloatArray:
        """(2048, 3) colours in 0…1: the learnt ones over those (2048, 3) that the points' regions have."""
        return np.asarray(self.learnt + self.remaining * point_colours, np.float32)


class Colouring:
    """Makes coats, each once: it knows colours that it has had before by their being the same object.

    Args:
        body: its surface points at rest say what lies near what.
    """

    def __init__(self, body: BodyModel) -> None:
        places = rest_places(body)
        flip = np.array([*MIRROR, *MIRROR], np.float32)
        distance, nearest = cKDTree(places).query(places * flip)
        self._places = places
        self._mirror: IntArray = nearest.astype(np.int64)
        self._has_mirror = distance < _MIRROR_REACH_M
        self._point_region = body.point_regions().numpy()
        self._cached = functools.lru_cache(IDENTITIES)(self._make)

    def colours(self, learnt: PointColours, region_colours: FloatArray) -> FloatArray:
        """(2048, 3) in 0…1 of one person's points.

        Args:
            learnt: the last that arrived.
            region_colours: (R, 3) in 0…1 of this frame.
        """
        return self._cached(learnt).over(region_colours[self._point_region])

    def _make(self, learnt: PointColours) -> ColourBlend:
        colours = np.divide(learnt.colours, 255, dtype=np.float32)
        known = learnt.seen.copy()
        mirrored = ~known & self._has_mirror & learnt.seen[self._mirror]
        colours[mirrored] = colours[self._mirror[mirrored]]
        known |= mirrored
        if not known.any():
            return ColourBlend(np.zeros_like(colours), np.ones((len(colours), 1), np.float32))
        near, distance = self._blend(colours, known, ~known)
        share = known.astype(np.float32)
        share[~known] = np.exp(-np.square(distance / _FADE_M))
        colours[~known] = near
        return ColourBlend(colours * share[:, None], 1 - share[:, None])

    def _blend(self, colours: FloatArray, known: BoolArray, unknown: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Mean colours (n, 3) of the known points about the n unknown ones, and how far the nearest is, metres."""
        count = min(_NEIGHBOURS, int(known.sum()))
        distance, nearest = cKDTree(self._places[known]).query(self._places[unknown], k=list(range(1, count + 1)))
        weights = inverse_distance(distance)
        return np.einsum("nk,nkc->nc", weights, colours[known][nearest]).astype(np.float32), distance[:, 0]


def rest_places(body: BodyModel) -> FloatArray:
    """(2048, 6) of the points of the mean body at rest: metres, then normals scaled to count as metres."""
    points, normals = body.surface_points(body.rest_vertices[:1])
    return np.hstack([points[0].numpy(), NORMAL_M * normals[0].numpy()]).astype(np.float32)


def inverse_distance(distance_m: Float64Array) -> FloatArray:
    """(N, K) weights that add up to one, the nearest first in every respect."""
    weights = 1 / np.square(distance_m + 0.005)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
