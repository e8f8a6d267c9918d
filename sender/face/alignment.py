"""Landmarks in the frame of the head: what a face does, whichever way it is turned.

A similarity lays the landmarks over a template, whose points are where the network finds its landmarks on the body's
mean head.  Points that facial actions move weigh less.  Of an eye, lids and iris are offsets from the middle of the
corners that are found with the lids, and once more the iris from the middle of those in the template: the first are
exact in large pictures, in small ones the corners follow the iris.
"""

from dataclasses import dataclass, field

import numpy as np

from common.arrays import Float64Array, FloatArray
from sender.face.landmarks import LEFT_CORNERS, LID_POINTS, POINTS, RIGHT_CORNERS, FaceLandmarks
from sender.perception.crop import similarity

INNER_CORNER = 8
"""Of the points of a lid; the outer one is the first."""
EYE_FEATURES = 2 * 2 * (LID_POINTS + 2)
FEATURES = 3 * POINTS + EYE_FEATURES
UNIT_M = 1e-3
TEMPLATE_AT_M = (0.0, -0.6954, -0.1407)
"""The mean of the template, on the body at rest, metres."""
_CORNERS = [list(LEFT_CORNERS), list(RIGHT_CORNERS)]
# The middle of the inner borders of the lips, from the person's right to the left.
_UPPER_LIP, _LOWER_LIP = [81, 82, 13, 312, 311], [178, 87, 14, 317, 402]
# Points of a lid between which the eye opens.
_LOWER_LID, _UPPER_LID = slice(2, 7), slice(10, 15)


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face in the frame of the head.

    Args:
        features: (F,) deviations of the landmarks from the template, then (2, 18, 2) offsets of lids and iris,
            millimetres.
        rotation: (3, 3) from the head's frame to the camera's, of a camera that looks at the face.
        px_per_m: pixels of the frame that a metre of the face spans.
        lips_mm, lids_mm: how far the lips and the lids (2,) of the left and the right eye are apart, in the picture,
            at that scale.
    """

    features: FloatArray
    rotation: FloatArray
    px_per_m: float
    lips_mm: float = 0.0
    lids_mm: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))


class Alignment:
    """Lays faces over the template.

    Args:
        template: (468, 3) on the mean body's head in the rest pose, metres.
        weights: (468,) of the points.

    Raises:
        ValueError: no point has weight.
    """

    def __init__(self, template: FloatArray, weights: FloatArray) -> None:
        if not weights.sum() > 0:
            raise ValueError("no point of the template has weight")
        self._weights = (weights / weights.sum()).astype(np.float64)
        self._centred = template - self._weights @ template

    def align(self, face: FaceLandmarks) -> AlignedFace:
        """Lays a face over the template."""
        rotation, scale, centre = similarity(self._centred, face.points, self._weights)
        moved = (face.points - centre) @ rotation / scale - self._centred
        eyes = self._eyes(face, centre, rotation / scale)
        features = np.concatenate([moved.ravel(), eyes.ravel()]) / UNIT_M
        lips = _apart(face.points[_UPPER_LIP, :2], face.points[_LOWER_LIP, :2])
        lids = _apart(face.lids[:, _UPPER_LID], face.lids[:, _LOWER_LID])
        unit = scale * UNIT_M
        return AlignedFace(
            features.astype(np.float32), rotation.astype(np.float32), scale, float(lips / unit), lids / np.float32(unit)
        )

    def _eyes(self, face: FaceLandmarks, centre: Float64Array, back: Float64Array) -> Float64Array:
        """(2, 18, 2) offsets of the lids' points and the iris, the head's axes."""
        middle = (face.lids[:, :1] + face.lids[:, INNER_CORNER : INNER_CORNER + 1]) / 2
        offsets = np.concatenate([face.lids, face.iris[:, :1]], axis=1) - middle
        depth = face.points[_CORNERS, 2].mean(axis=1)
        iris = np.concatenate([face.iris[:, 0], depth[:, None]], axis=1) - centre
        of_template = iris @ back - self._centred[_CORNERS].mean(axis=1)
        return np.concatenate([offsets @ back[:2, :2], of_template[:, None, :2]], axis=1)


def _apart(one: FloatArray, other: FloatArray) -> FloatArray:
    """(…) mean distances between points (…, N, 2)."""
    return np.asarray(np.linalg.norm(one - other, axis=-1).mean(axis=-1), np.float32)
