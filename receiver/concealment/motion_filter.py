"""Estimates the labels of a person of whom only some groups arrive: a Kalman filter over the motion model.

The groups that arrive are measurements of their coordinates.  The covariance of the state carries what they say over to
the others: the longer a group is lost, the more uncertain is its prediction and the more the others correct it.  Of a
pose group that never arrived the estimate is its conditional mean, given the pose of the others.  The orientation is a
rotation that the filter's errors are relative to; it takes up their mean after each step (Markley, "Attitude error
representations for Kalman filtering", 2003).
"""

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.codec.orientation import ENTRIES, Rotation, entries_of, rotated, rotation_of
from common.codec.quantiser import LIMIT, UNIT, from_fixed, to_fixed
from common.labels import LABEL_SIZE
from receiver.concealment.motion_model import (
    COORDINATES,
    ENTRY_OF_COORDINATE,
    ORIENTATION,
    POSE,
    MotionModel,
    coordinates_of,
)

# Hostile labels must not make the state infinite.
_BOUND = LIMIT / UNIT


class MotionFilter:
    """The estimate of one person.

    Args:
        model: of motions.
    """

    def __init__(self, model: MotionModel) -> None:
        self._model = model
        self._orientation: Rotation = rotation_of([0] * ENTRIES)
        self._mean: Float64Array = np.zeros(2 * COORDINATES)
        self._covariance = model.initial
        self._seen: BoolArray = np.zeros(COORDINATES, dtype=np.bool_)

    def has_seen(self, coordinates: IntArray) -> bool:
        """Whether all of the coordinates arrived at some time."""
        return bool(self._seen[coordinates].all())

    def advance(self, frames: int) -> None:
        """Predicts the state so many frames later, at 30 frames a second."""
        matrix, noise = self._model.after(frames)
        self._mean = matrix @ self._mean
        self._covariance = matrix @ self._covariance @ matrix.T + noise
        self._take_up_orientation()

    def observe(self, labels: FloatArray, coordinates: IntArray, variance: Float64Array) -> None:
        """Corrects the state by labels that arrived.

        Args:
            labels: (LABEL_SIZE,).
            coordinates: (K,) those of the groups that arrived.
            variance: (K,) of their errors.
        """
        self._seen[coordinates] = True
        measured = coordinates_of(to_fixed(labels), self._orientation)[coordinates]
        rows = self._covariance[coordinates]
        total = rows[:, coordinates] + np.diag(variance)
        gain = np.linalg.solve(total, rows).T
        self._mean = self._mean + gain @ (measured - self._mean[coordinates])
        covariance = self._covariance - gain @ rows
        self._covariance = (covariance + covariance.T) / 2
        self._take_up_orientation()

    def labels(self) -> FloatArray:
        """(LABEL_SIZE,) the estimated entries of the fast groups; the others are zero."""
        estimate = np.zeros(LABEL_SIZE, dtype=np.float32)
        estimate[ENTRY_OF_COORDINATE] = self._mean[:COORDINATES]
        if not self._seen[POSE].all():
            unseen = ~self._seen[POSE]
            estimate[ENTRY_OF_COORDINATE[POSE][unseen]] = np.clip(self._conditional_pose(unseen), -_BOUND, _BOUND)
        fixed = to_fixed(estimate)
        fixed[:ENTRIES] = entries_of(self._orientation)
        return from_fixed(fixed)

    def _conditional_pose(self, unseen: BoolArray) -> Float64Array:
        """The mean of the pose coordinates that were never seen, given those that were."""
        among_seen = self._model.pose[np.ix_(~unseen, ~unseen)]
        weights = np.linalg.solve(among_seen, self._mean[POSE][~unseen])
        return np.asarray(weights @ self._model.pose[np.ix_(~unseen, unseen)])

    def _take_up_orientation(self) -> None:
        self._mean = np.clip(self._mean, -_BOUND, _BOUND)
        turn = [round(UNIT * angle) for angle in self._mean[ORIENTATION].tolist()]
        self._orientation = rotated(self._orientation, turn)
        self._mean[ORIENTATION] = 0.0
