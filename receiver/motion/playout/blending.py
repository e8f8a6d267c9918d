"""What is displayed of a person: what the labels say about a moment, without a jump when others arrive.

A label that arrives changes what is expected. The difference between what was displayed last and what is expected of
that moment now decays within `CORRECTION_S`, by a cubic that begins with its value and speed and ends with neither:
velocities go on.
"""

import math
from typing import Final

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.labels import LABEL_SIZE
from common.motion.label_track import AT_REST_S, LabelsAt, LabelTrack
from common.motion.steps import SLOW, between, moved

CORRECTION_S: Final = 0.075
STILL_S: Final = AT_REST_S + CORRECTION_S
"""So long after the newest label nothing moves any more."""
_DIFFERENCE_S: Final = 2e-3  # velocities are differences over this time
# A display's pictures are at most so far apart; before, a moment that did not pass was displayed.
_LONGEST_SINCE_S: Final = 1 / 30


class BlendedPerson:
    """One person in one view; time may not go back."""

    def __init__(self, labels_at: LabelsAt) -> None:
        self._labels_at = labels_at
        self._track: LabelTrack | None = None
        self._since_s = self._displayed_s = -math.inf
        self._error = self._error_speed = np.zeros(LABEL_SIZE)

    def pose(self, track: LabelTrack, at_s: float) -> FloatArray:
        """The labels (LABEL_SIZE,) that are displayed at a moment on the sender's clock."""
        labels = self._labels_at(track, at_s)
        if self._track is None or track.began_s != self._track.began_s:
            self._since_s = -math.inf
        elif track is not self._track:
            self._correct(self._track, track, max(self._displayed_s, at_s - _LONGEST_SINCE_S))
        self._track, self._displayed_s = track, at_s
        return labels if at_s >= self._since_s + CORRECTION_S else moved(labels, self._left(at_s)[0])

    def _correct(self, before: LabelTrack, track: LabelTrack, at_s: float) -> None:
        """Begins with the difference from what was displayed of other labels at a moment."""
        soon_s = at_s + _DIFFERENCE_S
        left, left_speed = self._left(at_s)
        labels, was = self._labels_at(track, at_s), self._labels_at(before, at_s)
        apart = between(labels, was), between(self._labels_at(track, soon_s), self._labels_at(before, soon_s))
        error_speed = left_speed + (apart[1] - apart[0]) / _DIFFERENCE_S
        error = between(labels, moved(was, left))
        error[SLOW] = error_speed[SLOW] = 0.0
        self._error, self._error_speed, self._since_s = error, error_speed, at_s

    def _left(self, at_s: float) -> tuple[Float64Array, Float64Array]:
        """What is left of the difference, and its speed: a cubic to zero."""
        share = min((at_s - self._since_s) / CORRECTION_S, 1.0)
        rest = 1 - share
        left = rest * rest * ((1 + 2 * share) * self._error + share * CORRECTION_S * self._error_speed)
        speed = -6 * share * rest / CORRECTION_S * self._error + rest * (1 - 3 * share) * self._error_speed
        return left, speed
