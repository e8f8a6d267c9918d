"""Steps from one label vector to another, in numbers that can be added, scaled and blended.

A step has the size of the labels: the first three numbers are a rotation vector in the axes of the body, the next three
are 0, the three behind them are metres in camera space, and the others are differences of entries.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.body.label_space import TRANSLATION_MEAN, TRANSLATION_SCALE
from common.labels import GROUPS, ROTATION_SCALE, group_slices

SLOW = np.repeat([not group.fast for group in GROUPS], [group.size for group in GROUPS])
"""(LABEL_SIZE,) which entries say who it is, not what they do."""

_TURN, _PLACE = slice(0, 3), slice(6, 9)
_ROOT = group_slices()["root"]
_MEAN, _SCALE = np.array(TRANSLATION_MEAN), np.array(TRANSLATION_SCALE)
# Of depths as `decode_root` takes them.
_LOG_DEPTHS = (-3.0, 6.0)
_SMALLEST = 1e-6
# Cosine of half the angle.
_NEAR_HALF_TURN = 0.1


def between(start: FloatArray, end: FloatArray) -> Float64Array:
    """(LABEL_SIZE,) the step from one label vector (LABEL_SIZE,) to another; orientation turns the short way."""
    step = end.astype(np.float64) - start
    turn = orientation_of(start).T @ orientation_of(end)
    step[_ROOT] = 0.0
    step[_TURN] = _rotation_vector(turn)
    step[_PLACE] = place_of(end) - place_of(start)
    return step


def moved(start: FloatArray, step: Float64Array) -> FloatArray:
    """(LABEL_SIZE,) where a step leads to: the inverse of `between`."""
    end = start + step
    turned = orientation_of(start) @ Rotation.from_rotvec(step[_TURN]).as_matrix()
    end[_ROOT] = root_entries(turned[:, :2].T.ravel(), place_of(start) + step[_PLACE])
    return end.astype(np.float32)


def root_entries(axes: Float64Array, place: Float64Array) -> Float64Array:
    """(9,) the root's entries of the first two axes (6,) of an orientation, and of a place (3,), metres."""
    x, y, z = place
    z = max(z, math.exp(_LOG_DEPTHS[0]))
    return np.concatenate([axes / ROTATION_SCALE, (np.array([x / z, y / z, math.log(z)]) - _MEAN) / _SCALE])


def _rotation_vector(turn: Float64Array) -> Float64Array:
    """(3,) of a rotation matrix (3, 3); SciPy is exact for half turns, too, but takes ten times as long."""
    (a, b, c), (d, e, f), (g, h, i) = turn.tolist()
    cosine = math.sqrt(max(1 + a + e + i, 0.0)) / 2
    if cosine < _NEAR_HALF_TURN:
        return np.asarray(Rotation.from_matrix(turn).as_rotvec())
    axis = np.array([h - f, c - g, d - b]) / (4 * cosine)
    sine = math.sqrt(axis @ axis)
    return axis * (2 * math.atan2(sine, cosine) / sine if sine > _SMALLEST else 2.0)


def share_of_way(passed_s: float, constant_s: float) -> float:
    """Share of its way that an exponential mean goes in a time."""
    return 1 - math.exp(-passed_s / constant_s)


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """The way of labels, or of a step, from what was shown to what is to be shown; it begins and ends at rest."""

    offset: Float64Array
    began_s: float
    takes_s: float

    def left(self, now_s: float) -> float:
        """Share of the offset that is left: 1 at first, then 0."""
        share = min(max((now_s - self.began_s) / self.takes_s, 0.0), 1.0)
        return 1 - share * share * (3 - 2 * share)


def orientation_of(labels: FloatArray) -> Float64Array:
    """(3, 3) of labels by Gram-Schmidt, as `decode_orientation`: upright, facing the camera, if they have none."""
    a1, a2, a3, b1, b2, b3 = labels[_ROOT.start : _PLACE.start].tolist()
    length = math.sqrt(a1 * a1 + a2 * a2 + a3 * a3)
    if length < _SMALLEST:
        return np.eye(3)
    a1, a2, a3 = a1 / length, a2 / length, a3 / length
    along = a1 * b1 + a2 * b2 + a3 * b3
    b1, b2, b3 = b1 - along * a1, b2 - along * a2, b3 - along * a3
    length = math.sqrt(b1 * b1 + b2 * b2 + b3 * b3)
    if length < _SMALLEST:
        return np.eye(3)
    b1, b2, b3 = b1 / length, b2 / length, b3 / length
    third = a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1
    return np.array([(a1, b1, third[0]), (a2, b2, third[1]), (a3, b3, third[2])])


def place_of(labels: FloatArray) -> Float64Array:
    """(3,) metres, of labels, as `decode_root`."""
    x, y, log_depth = (labels[_PLACE] * _SCALE + _MEAN).tolist()
    depth = math.exp(min(max(log_depth, _LOG_DEPTHS[0]), _LOG_DEPTHS[1]))
    return np.array([x * depth, y * depth, depth])
