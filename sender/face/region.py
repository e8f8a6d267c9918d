"""Where a face is looked for at first: a square from the keypoints of the head."""

import math

import numpy as np

from common.arrays import FloatArray
from sender.perception.crop import CropBox

# Of 255 photographed faces whose regions the landmarks give: sides over the distances of the eyes and from the line of
# the eyes to the nose (to 11 %), and the centre.
_EYES, _NOSE = 3.5, 3.0
_LOWER, _AGAINST_NOSE = 0.13, 1.1
FACE_PER_EYES = 2.2
"""A face's size in pixels is so many times the distance of its eyes, seen from the front."""
_FACE_PER_SIDE = FACE_PER_EYES / 3.85


def region_of_keypoints(keypoints: FloatArray) -> CropBox:
    """The region of nose, left and right eye (≥ 3, 2), in the order of COCO's keypoints, pixels."""
    nose, left, right = np.asarray(keypoints[:3], np.float64)
    across = left - right
    roll = math.atan2(across[1], across[0])
    axes = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    middle = (left + right) / 2
    aside, below = (nose - middle) @ axes
    side = math.hypot(_EYES * np.hypot(*across), _NOSE * below)
    x, y = middle + axes @ [-_AGAINST_NOSE * aside, _LOWER * side]
    half = side / 2
    return CropBox.around([x - half, y - half, x + half, y + half], 1.0, roll)


def face_px(region: CropBox) -> float:
    """Size of the face in a region, pixels."""
    return _FACE_PER_SIDE * region.side
