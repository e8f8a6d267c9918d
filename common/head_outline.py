"""The outline of a head with its hair: how far it is from that of the bare mean head, seen from the front.

Directions are angles from the crown, about the middle of the head.  Both sides are taken for alike.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import REGION_INDEX

SECTORS: Final[Mapping[str, tuple[float, float]]] = {
    "crown": (0, 20),
    "temples": (30, 65),
    "ears": (70, 100),
    "jaw": (105, 130),
}
"""Name → the directions between which the outline is one number, degrees to both sides."""
_MIDDLES: Final = np.array([sum(ends) / 2 for ends in SECTORS.values()])
DIRECTIONS: Final = np.arange(-130, 131, 5)
"""(D,) in which outlines are looked at, degrees from the crown."""
# What is so far beside a direction belongs to it.
_BESIDE_DEG = 6.0


def head_vertices(region: IntArray) -> IntArray:
    """Indices of the vertices of face and scalp, of regions (V,)."""
    return np.flatnonzero(np.isin(region, [REGION_INDEX["face"], REGION_INDEX["scalp"]]))


def middle_of(head: FloatArray) -> FloatArray:
    """(3,) the middle of a head (H, 3) at rest, metres."""
    middle = (head.min(axis=0) + head.max(axis=0)) / 2
    return np.asarray(middle * [0, 1, 1], np.float32)


def directions_of(places: FloatArray) -> FloatArray:
    """(N,) of places (N, 2) about the middle, y down, degrees from the crown, −180…180."""
    return np.rad2deg(np.arctan2(places[:, 0], -places[:, 1]))


def radii(places: FloatArray) -> FloatArray:
    """(D,) how far places (N, 2) about the middle reach in each direction."""
    beside = (directions_of(places)[:, None] - DIRECTIONS + 180) % 360 - 180
    lengths = np.hypot(*places.T)[:, None]
    return np.asarray(np.where(np.abs(beside) < _BESIDE_DEG, lengths, 0).max(axis=0), np.float32)


def in_sectors(values: FloatArray) -> FloatArray:
    """(2, S) medians over the directions of each sector, to the left and to the right, of values (D,).

    NaN where a value of three is.
    """
    found = np.full((2, len(SECTORS)), np.nan, np.float32)
    for column, (low, high) in enumerate(SECTORS.values()):
        for row, sign in enumerate((-1, 1)):
            own = values[(sign * DIRECTIONS >= low) & (sign * DIRECTIONS <= high)]
            if np.isnan(own).mean() < 1 / 3:
                found[row, column] = np.nanmedian(own)
    return found


def between_sectors(numbers: FloatArray, directions: FloatArray) -> FloatArray:
    """(N,) what numbers (S,) of the sectors are in directions (N,), degrees."""
    return np.interp(np.abs(directions), _MIDDLES, numbers).astype(np.float32)
