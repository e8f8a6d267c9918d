"""Decides between two hypotheses of which way a person faces, with the frames before.

A frame in which nothing tells front from back has two explanations, half a turn apart, and perception jumps between
them.  Nobody turns so far from one frame to the next: a pose that is turned too far from the last one waits until the
frames agree on it, and the last one is published meanwhile.
"""

import math
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray
from common.labels import GROUP_NAMES, OPTIONAL_GROUPS, group_slices
from sender.semantics.keypoint_jacobian import CROSS, orientation

_ROOT = group_slices()["root"]
_ORIENTATION = slice(_ROOT.start, _ROOT.start + 6)
_NO_POSE = ("root", "shape", "appearance", "surface", *OPTIONAL_GROUPS)
_POSE = np.concatenate(
    [np.r_[each] for each in (_ORIENTATION, *(group_slices()[name] for name in GROUP_NAMES if name not in _NO_POSE))]
)
# Nobody turns by more from one frame to the next, radians; two poses turned by less from each other agree.
_MAX_TURN = np.radians(100.0)
# Facing the camera: where the orientation is missing.
_UPRIGHT = np.array([1, 0, 0, 0, 1, 0], np.float32)
# So long the frames must agree on another pose, seconds.
_AGREED_S = 0.2


@dataclass(slots=True)
class _Facing:
    """One person: the last pose that was believed, and the other one that has been seen since `since_s`."""

    labels: FloatArray
    other: FloatArray | None = None
    since_s: float = 0.0


class FacingResolver:
    """Keeps each identity's pose while single frames show it from the other side."""

    def __init__(self) -> None:
        self._people: dict[int, _Facing] = {}

    def forget(self, identity: int) -> None:
        """Forgets one person, who was not seen for a while."""
        self._people.pop(identity, None)

    def resolve(self, identity: int, time_s: float, labels: FloatArray) -> FloatArray:
        """One person's labels (LABEL_SIZE,): their own, or with an earlier frame's pose if they are turned too far.

        Args:
            time_s: of the frame, on the source's clock.
            labels: in the camera space of the frame.
        """
        person = self._people.get(identity)
        if person is None or turn_between(person.labels, labels) <= _MAX_TURN:
            self._people[identity] = _Facing(labels.copy())
            return labels
        if person.other is None or turn_between(person.other, labels) > _MAX_TURN:
            person.since_s = time_s
        person.other = labels.copy()
        if time_s - person.since_s >= _AGREED_S:
            self._people[identity] = _Facing(labels.copy())
            return labels
        kept = labels.copy()
        kept[_POSE] = person.labels[_POSE]
        return kept


def turn_between(first: FloatArray, second: FloatArray) -> float:
    """Angle between the orientations of two label vectors (LABEL_SIZE,), radians."""
    entries = np.stack([first, second])[:, _ORIENTATION]
    one, other = orientation(np.where(entries.any(axis=1, keepdims=True), entries, _UPRIGHT), CROSS)
    cosine = (float((one * other).sum()) - 1) / 2
    return math.acos(min(max(cosine, -1.0), 1.0))
