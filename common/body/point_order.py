"""The 2,048 surface points along one curve over the body, the same on every machine.

The points are shipped in the order of a balanced tree whose leaves are 128 tokens of 16 neighbours
(`common.training.surface_points`).  Within a token they follow no curve yet; here each token is halved on, so that two,
four, eight, … in a row are neighbours all the way down.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import IntArray
from common.body.anatomy import POINTS, TOKENS
from common.body.bake import load_arrays

# 2^20 steps a metre and 2^16 of a triangle's side: whole numbers from here on, for rounding must not differ.
_STEPS_PER_METRE = 1 << 20
_STEPS_OF_A_SIDE = 1 << 16


def point_order() -> IntArray:
    """(2048,) entry k says which surface point comes k-th along the curve."""
    arrays = load_arrays()
    places = _whole_places(arrays["rest_vertices"][0], arrays["point_corners"], arrays["point_barycentric"])
    size = POINTS // TOKENS
    tokens = places.reshape(TOKENS, size, 3)
    return np.concatenate([index * size + halved(token) for index, token in enumerate(tokens)])


def halved(places: IntArray) -> IntArray:
    """Order of 2^k places (2^k, 3) in whole numbers: halved along the longest side, then each half likewise."""
    count = len(places)
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    longest = int(np.argmax(np.ptp(places, axis=0)))
    ranked = np.argsort(places[:, longest], kind="stable")
    halves = ranked[: count // 2], ranked[count // 2 :]
    return np.concatenate([half[halved(places[half])] for half in halves])


def _whole_places(vertices: npt.NDArray[Any], corners: npt.NDArray[Any], barycentric: npt.NDArray[Any]) -> IntArray:
    """(2048, 3): the points on the mean body at rest."""
    where = np.rint(vertices.astype(np.float64) * _STEPS_PER_METRE).astype(np.int64)
    shares = np.rint(barycentric.astype(np.float64) * _STEPS_OF_A_SIDE).astype(np.int64)
    places: IntArray = (shares[:, :, None] * where[corners]).sum(axis=1)
    return places
