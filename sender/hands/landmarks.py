"""Where a hand's landmarks are in a picture: MediaPipe's networks for hands, fed as its own graphs feed them.

A crop is a square that is turned so that the fingers point upwards.  `hand_recrop` places it where only the forearm is
known; while a hand is followed, its last landmarks do.

Shapes: L = 21 landmarks: the wrist, then of each finger from the thumb its three joints and its tip.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array, FloatArray, Image
from common.weights.landmark_networks import load_network
from sender.perception.crop import CropBox, rolled_axes

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

RECROP_PX, LANDMARK_PX = 256, 224
# Towards the fingers, in sides of the square that encloses the palm (`hand_landmarks_to_roi.pbtxt`), and its growth.
_SHIFT, _GROWTH = 0.1, 2.0
# All joints but the outer ones and the tips.
_PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
_WRIST, _INDEX, _MIDDLE, _RING = 0, 5, 9, 13
# Of the probability that the hand is a right one.
_MIN_RIGHT = 0.5
# The knuckles lie beyond the wrist by this share of the forearm; side of the square in lengths of the hand.
_BEYOND, _SEARCH = 0.3, 1.7
# Of the network's depths: with this, the bones of 70 photographed hands have the same lengths in most poses.
_DEPTH = 5.0
_LEAST_PX = 16


class Place(NamedTuple):
    """Where a hand is: wrist and elbow (2,), pixels, and its length in pixels."""

    wrist: Float64Array
    elbow: Float64Array
    hand_px: float


def crop_at(centre: Float64Array, side: float, up: Float64Array) -> CropBox:
    """The square around a centre whose upward direction is `up`, both (2,), pixels."""
    left, top = (round(float(value - side / 2)) for value in centre)
    return CropBox(left, top, max(_LEAST_PX, round(side)), math.atan2(float(up[0]), -float(up[1])))


def crop_of_forearm(place: Place) -> CropBox:
    """The square in which `hand_recrop` looks for a hand beyond the wrist."""
    along = place.wrist - place.elbow
    return crop_at(place.wrist + _BEYOND * along, _SEARCH * place.hand_px, along)


def crop_of_landmarks(landmarks: Float64Array) -> CropBox:
    """The square for the next picture, from landmarks (L, 2 or 3), pixels."""
    landmarks = landmarks[:, :2]
    up = (landmarks[_INDEX] + landmarks[_RING] + 2 * landmarks[_MIDDLE]) / 4 - landmarks[_WRIST]
    axes = rolled_axes(math.atan2(float(up[0]), -float(up[1])))
    palm = landmarks[_PALM] @ axes
    low, high = palm.min(0), palm.max(0)
    centre = (low + high) / 2 - [0, _SHIFT * (high - low)[1]]
    return crop_at(axes @ centre, _GROWTH * float((high - low).max()), up)


def crop_of_recrop(output: FloatArray, searched: CropBox, *, mirrored: bool) -> CropBox:
    """The square that `hand_recrop` proposes, from its points (4,): the centre, and the middle of the lower side."""
    centre, bottom = searched.to_pixels(_flipped(output.reshape(2, 2) / RECROP_PX, mirrored=mirrored))
    up = centre - bottom
    return crop_at(centre + 2 * _SHIFT * up, 2 * float(np.hypot(*up)), up)


@dataclass(frozen=True, slots=True)
class SeenHand:
    """What the network sees in a crop.

    Args:
        landmarks: (L, 3) pixels of the frame, and depth beyond the wrist, in pixels too.
        score: probability that a hand is in the crop.
        is_right: whether it is of the side that it was said to be.
    """

    landmarks: Float64Array
    score: float
    is_right: bool


class HandReader:
    """Reads one hand at a time.  The networks see every hand as a right one.

    Args:
        recrop: places a crop of a hand.
        exact: reads its landmarks.
        fast: reads those of a hand that is followed, in half the time.
    """

    def __init__(self, recrop: "CompiledGraph", exact: "CompiledGraph", fast: "CompiledGraph") -> None:
        self._recrop, self._exact, self._fast = recrop, exact, fast

    @classmethod
    def load(cls) -> Self | None:
        """None where the networks are missing."""
        networks = [load_network(name) for name in ("hand_recrop", "hand_landmark_full", "hand_landmark_lite")]
        present = [network for network in networks if network is not None]
        return cls(*present) if len(present) == len(networks) else None

    def search(self, image: Image, place: Place, *, left: bool) -> SeenHand:
        """What is beyond a forearm."""
        searched = crop_of_forearm(place)
        (points,) = self._recrop(_picture(image, searched, RECROP_PX, mirrored=left))
        return self.read(image, crop_of_recrop(points.numpy().ravel(), searched, mirrored=left), left=left)

    def read(self, image: Image, crop: CropBox, *, left: bool, fast: bool = False) -> SeenHand:
        """The landmarks of the hand in a crop."""
        picture = _picture(image, crop, LANDMARK_PX, mirrored=left)
        points, score, right, _ = (self._fast if fast else self._exact)(picture)
        units = points.numpy().reshape(-1, 3).astype(np.float64) / LANDMARK_PX
        pixels = crop.to_pixels(_flipped(units[:, :2], mirrored=left))
        landmarks = np.column_stack([pixels, _DEPTH * units[:, 2] * crop.side])
        return SeenHand(landmarks, float(score), is_right=float(right) > _MIN_RIGHT)


def _picture(image: Image, crop: CropBox, size: int, *, mirrored: bool) -> Tensor:
    """(1, size, size, 3) RGB 0…1, as the networks take it."""
    cut = crop.cut(image, size)
    picture = np.multiply(cut[:, ::-1] if mirrored else cut, 1 / 255, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(picture))[None]


def _flipped(units: FloatArray | Float64Array, *, mirrored: bool) -> FloatArray:
    """Positions (…, 2) in a mirrored crop, as those in the crop."""
    return np.asarray([1, 0] + units * [-1, 1] if mirrored else units, np.float32)
