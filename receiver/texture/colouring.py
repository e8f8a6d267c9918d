"""Colours for all surface points of a person, from the observed points and the colours of the body regions.

An observed point keeps its own colour.  An unobserved point takes the colour of its mirror point, if that was observed.
Each remaining point blends from the nearest known colours into the colour of its region with growing distance.  The
weights depend only on which points were observed, so they are computed once per received set of colours; a frame only
adds its region colours.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import MIRROR_SIGNS
from common.body.model import BodyModel
from common.frames import IDENTITIES
from common.texture.point_colours import PointColours
from common.weights.devices import to_numpy

NORMAL_WEIGHT_M = 0.06
"""Distance per unit of difference between normals: opposite normals add 0.12 m, so no colour passes through a limb."""

# Largest distance between a reflected point and its mirror point; about the spacing of the points.
_MIRROR_TOLERANCE_M = 0.06
# Length scale of the blend from known colours to the region's colour.
_BLEND_LENGTH_M = 0.07
_NEIGHBOURS = 6
# Keeps the inverse-distance weight of a coincident point finite.
_MINIMUM_DISTANCE_M = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class ColourBlend:
    """Observed colours of a person's points, ready to be blended over region colours.

    Args:
        weighted_colours: (2048, 3) colours in 0…1, premultiplied by their weight.
        region_weight: (2048, 1) weight of the region's colour, 0…1.
    """

    weighted_colours: FloatArray
    region_weight: FloatArray

    def over(self, region_colours: FloatArray) -> FloatArray:
        """Blends over region colours, given per point in 0…1: (2048, 3) → (2048, 3)."""
        return np.asarray(self.weighted_colours + self.region_weight * region_colours, np.float32)


class Colouring:
    """Colours the surface points of people.

    Blends are cached by the identity of the `PointColours` object.

    Args:
        body: its surface points at rest define distances and mirror points.
    """

    def __init__(self, body: BodyModel) -> None:
        points = rest_oriented_points(body)
        flip = np.array([*MIRROR_SIGNS, *MIRROR_SIGNS], np.float32)
        distance, nearest = cKDTree(points).query(points * flip)
        self._points = points
        self._mirror: IntArray = nearest.astype(np.int64)
        self._has_mirror = distance < _MIRROR_TOLERANCE_M
        self._point_region = to_numpy(body.point_regions())
        self._cached_blend = functools.lru_cache(IDENTITIES)(self._blend)

    def colours(self, observed: PointColours, region_colours: FloatArray) -> FloatArray:
        """(2048, 3) colours in 0…1 of a person, of observed points and of this frame's (R, 3) regions in 0…1."""
        return self._cached_blend(observed).over(region_colours[self._point_region])

    def _blend(self, observed: PointColours) -> ColourBlend:
        colours = np.divide(observed.colours, 255, dtype=np.float32)
        known = observed.seen.copy()
        mirrored = ~known & self._has_mirror & observed.seen[self._mirror]
        colours[mirrored] = colours[self._mirror[mirrored]]
        known |= mirrored
        if not known.any():
            return ColourBlend(np.zeros_like(colours), np.ones((len(colours), 1), np.float32))
        interpolated, distance_m = self._interpolate(colours, known)
        weight = known.astype(np.float32)
        weight[~known] = np.exp(-np.square(distance_m / _BLEND_LENGTH_M))
        colours[~known] = interpolated
        return ColourBlend(colours * weight[:, None], 1 - weight[:, None])

    def _interpolate(self, colours: FloatArray, known: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Colours (n, 3) of the n unknown points, from the nearest known points, and the distance (n,) to the nearest
        one, metres."""
        count = min(_NEIGHBOURS, int(known.sum()))
        distance, nearest = cKDTree(self._points[known]).query(self._points[~known], k=list(range(1, count + 1)))
        weights = inverse_distance_weights(distance)
        return np.einsum("nk,nkc->nc", weights, colours[known][nearest]).astype(np.float32), distance[:, 0]


def rest_oriented_points(body: BodyModel) -> FloatArray:
    """(2048, 6) surface points of the mean body at rest: positions in metres, normals scaled by `NORMAL_WEIGHT_M`."""
    points, normals = body.surface_points(body.rest_vertices[:1])
    return np.hstack([to_numpy(points[0]), NORMAL_WEIGHT_M * to_numpy(normals[0])]).astype(np.float32)


def inverse_distance_weights(distance_m: Float64Array) -> FloatArray:
    """(N, K) distances → (N, K) inverse-square weights; each row sums to 1."""
    weights = 1 / np.square(distance_m + _MINIMUM_DISTANCE_M)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
