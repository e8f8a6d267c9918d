"""Decides between two hypotheses of which way a person faces, with the frames before.

A frame in which nothing tells front from back has two explanations, half a turn apart, and perception jumps between
them, or halfway.  Nobody turns so fast: a pose that is turned too far from the one that is shown waits until the frames
agree on it.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from common.arrays import FloatArray
from common.labels import group_slices
from sender.semantics.keypoint_jacobian import CROSS, orientation

_ROOT = group_slices()["root"]
_ORIENTATION = slice(_ROOT.start, _ROOT.start + 6)
# A pose may be turned by so much from the one that is shown, and by so much more a second: radians. Less holds people
# back who turn around in rendered clips of the training split.
_MOST_NOISE, _MOST_SPEED = np.radians(45.0), np.radians(360.0)
# Two poses that are turned by less from each other agree, radians; so long they must agree, seconds.
_AGREED, _AGREED_S = np.radians(60.0), 0.2
# Facing the camera: where the orientation is missing.
_UPRIGHT = np.array([1, 0, 0, 0, 1, 0], np.float32)


class Facing(Enum):
    """What a frame says of the way a person faces."""

    FOLLOWS = auto()
    WAITS = auto()  # it is turned too far from what is shown, and is not believed yet
    TURNED = auto()  # it is turned too far, as were all frames before it for long enough


@dataclass(slots=True)
class _Other:
    """The other pose, and since when frames have shown it."""

    labels: FloatArray
    since_s: float


class FacingResolver:
    """Tells of one person's frames which show them from the other side."""

    def __init__(self) -> None:
        self._other: _Other | None = None

    def judge(self, time_s: float, labels: FloatArray, shown: FloatArray, shown_s: float) -> Facing:
        """Whether labels (LABEL_SIZE,) follow those that are `shown` since `shown_s`.

        Args:
            time_s, shown_s: on the source's clock.
            labels, shown: in the camera space of their frames.
        """
        if turn_between(shown, labels) <= _MOST_NOISE + _MOST_SPEED * (time_s - shown_s):
            self._other = None
            return Facing.FOLLOWS
        other = self._other
        agrees = other is not None and turn_between(other.labels, labels) <= _AGREED
        since_s = other.since_s if other is not None and agrees else time_s
        if time_s - since_s >= _AGREED_S:
            self._other = None
            return Facing.TURNED
        self._other = _Other(labels.copy(), since_s)
        return Facing.WAITS


def turn_between(first: FloatArray, second: FloatArray) -> float:
    """Angle between the orientations of two label vectors (LABEL_SIZE,), radians."""
    entries = np.stack([first, second])[:, _ORIENTATION]
    one, other = orientation(np.where(entries.any(axis=1, keepdims=True), entries, _UPRIGHT), CROSS)
    cosine = (float((one * other).sum()) - 1) / 2
    return math.acos(min(max(cosine, -1.0), 1.0))
