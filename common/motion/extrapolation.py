"""What somebody does next: the interface of predictors, the one that knows nothing about motion, and how long any of
them is believed.
"""

from typing import Final, Protocol

import numpy as np

from common.arrays import FloatArray
from common.motion.label_track import LabelTrack
from common.motion.steps import SLOW, between, moved

# A camera's frames; labels that are nearer tell no speed.
_LEAST_APART_S = 0.015
_FREE_S: Final = 0.5  # motion goes on for so long after the newest label, then comes to rest within `_REST_S`
_REST_S: Final = 0.2
AT_REST_S: Final = _FREE_S + _REST_S
"""So long after the newest label nothing moves any more."""


class MotionPredictor(Protocol):
    """Continues motion."""

    def predict(self, track: LabelTrack, at_s: float) -> FloatArray:
        """The label vector (LABEL_SIZE,) of a person at a moment, finite.

        Args:
            track: decoded and completed labels.
            at_s: not before the newest.
        """


class DampedExtrapolation:
    """The last change goes on, ever slower: by v τ (1 − exp(−t / τ)) after the time t, at a speed v.

    Args:
        tau_s: after this time the speed has fallen to 1/e.
        span_s: the change is that of the last labels that are at least so far apart: noise counts less then.
    """

    def __init__(self, tau_s: float = 0.15, span_s: float = 0.1) -> None:
        self._tau_s, self._span_s = tau_s, span_s

    def predict(self, track: LabelTrack, at_s: float) -> FloatArray:
        """See `MotionPredictor`."""
        times_s, labels = track.times_s, track.labels
        newest: FloatArray = labels[-1]
        if len(labels) < 2:
            return newest.copy()
        before = max(int(np.searchsorted(times_s[:-1], times_s[-1] - self._span_s, side="right")) - 1, 0)
        apart_s = max(times_s[-1] - times_s[before], _LEAST_APART_S)
        share = self._tau_s * -np.expm1((times_s[-1] - at_s) / self._tau_s) / apart_s
        step = between(labels[before], newest) * share
        step[SLOW] = 0.0
        return moved(newest, step)


class Continued:
    """Another predictor's motion, which comes to rest when no labels arrive (`MotionPredictor`).

    Attributes:
        predictor: the other one; may be replaced.
    """

    def __init__(self, predictor: MotionPredictor | None = None) -> None:
        self.predictor = predictor or DampedExtrapolation()

    def predict(self, track: LabelTrack, at_s: float) -> FloatArray:
        """See `MotionPredictor`; before the newest labels, these."""
        newest_s = float(track.times_s[-1])
        ahead_s = max(at_s - newest_s, 0.0)
        if ahead_s > _FREE_S:
            rest_s = min(ahead_s - _FREE_S, _REST_S)
            ahead_s = _FREE_S + rest_s - rest_s * rest_s / (2 * _REST_S)
        return self.predictor.predict(track, newest_s + ahead_s)
