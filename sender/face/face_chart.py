"""Lays each picture of a face into its chart (`common.texture.face_picture`), for the live face."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay

from common.arrays import BoolArray, FloatArray, Image
from common.texture.face_picture import SIDES, FaceChart

# Pixels of a face up to which its chart has so many texels.
_MOST_PX = (90.0, 230.0, math.inf)
# A chart keeps its size until the face has grown or shrunk by so much beyond.
_KEEPS = 1.2
# What is seen more obliquely keeps its last colour: a triangle of the chart is so much smaller in the picture.
_OBLIQUE = 0.12
# Of the sides of the chart: what is narrower is squeezed by lids or lips, and not turned away.
_NARROW = 1 / 12
_GREY: Final = 128
# More pictures a second are never sent; the frames of a camera do not come evenly.
_LEAST_PAUSE_S: Final = 0.055


class Unwrapping:
    """Lays pictures of faces into the chart with `side` texels."""

    def __init__(self, side: int) -> None:
        places = FaceChart.load().landmarks.astype(np.float64)
        across, down = np.meshgrid(*2 * [(np.arange(side) + 0.5) / side])
        texels = np.column_stack([across.ravel(), down.ravel()])
        triangles = Delaunay(places)
        found = triangles.find_simplex(texels)
        turn = triangles.transform[found]
        two = np.einsum("tij,tj->ti", turn[:, :2], texels - turn[:, 2])
        inside = found >= 0
        shares = (np.column_stack([two, 1 - two.sum(axis=1)]) * inside[:, None]).astype(np.float32)
        rows = np.repeat(np.arange(len(texels)), 3), triangles.simplices[found].ravel()
        self._lays = sparse.coo_array((shares.ravel(), rows), (len(texels), len(places))).tocsr()
        self._corners, self._found = triangles.simplices, found.reshape(side, side)
        self._outside: BoolArray = ~inside.reshape(side, side)
        self._narrow = np.ones((round(_NARROW * side),) * 2, np.uint8)
        self._areas = _areas(places[self._corners])

    def __call__(self, image: Image, points: FloatArray, before: Image | None = None) -> Image:
        """(S, S, 3) the chart of a face with landmarks (468, ≥ 2), pixels of the image.

        Args:
            before: the chart of the picture before, which what is turned away keeps.
        """
        at = self._lays @ points[:, :2].astype(np.float32) - np.float32(0.5)
        x, y = at.T.reshape(2, *self._outside.shape)
        chart = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        if before is not None and before.shape == chart.shape:
            hidden = self._hidden(points)
            chart[hidden] = before[hidden]
        chart[self._outside] = _GREY
        return chart

    def _hidden(self, points: FloatArray) -> BoolArray:
        """(S, S) of triangles that are seen edge-on; those of closed lids and lips are not."""
        sizes = _areas(points[self._corners, :2]) / self._areas
        oblique = sizes < _OBLIQUE * np.median(sizes)
        if not oblique.any():
            return np.zeros_like(self._outside)
        seen = (oblique[self._found] & ~self._outside).astype(np.uint8)
        # What lids and lips squeeze is narrow.
        return np.asarray(cv2.morphologyEx(seen, cv2.MORPH_OPEN, self._narrow) > 0)


def _areas(corners: FloatArray) -> FloatArray:
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) + 1e-9, np.float32)


@lru_cache(maxsize=len(SIDES))
def unwrapping(side: int) -> Unwrapping:
    """Made once for each size."""
    return Unwrapping(side)


@dataclass(slots=True)
class ChartMemory:
    """The chart of a person's face, from picture to picture."""

    side: int = 0
    last: Image | None = None
    laid_s: float = -math.inf

    def laid(self, image: Image, points: FloatArray, face_px: float, now_s: float) -> Image | None:
        """The chart of a picture; None of one that comes too soon after another one."""
        if 0 <= now_s - self.laid_s < _LEAST_PAUSE_S:
            return None
        self.laid_s = now_s
        if not self.side or not self._fits(face_px):
            self.side = next(side for side, most in zip(SIDES, _MOST_PX, strict=True) if face_px < most)
        self.last = unwrapping(self.side)(image, points, self.last)
        return self.last

    def _fits(self, face_px: float) -> bool:
        number = SIDES.index(self.side)
        least = _MOST_PX[number - 1] / _KEEPS if number else 0.0
        return least <= face_px < _MOST_PX[number] * _KEEPS
