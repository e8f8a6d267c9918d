"""What somebody does next: the interface of predictors, the one that knows nothing about motion, and how long any of
them is believed.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.frames import LabelFrame
from common.labels import concatenate
from common.motion.steps import SLOW, between, moved

LIFETIME_S: Final = 1.0
"""Who was out of sight for longer may be somebody else, and begins anew."""
MOST_LABELS: Final = 121
"""How many labels of a person are kept, and given to predictors, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelTrack:
    """The newest labels of a person.

    Args:
        times_s: (n,) of the moments that the labels describe, increasing.
        labels: (n, LABEL_SIZE).
        began_s: when the person was first seen.
    """

    times_s: Float64Array
    labels: FloatArray
    began_s: float

    @classmethod
    def begin(cls, moment_s: float, labels: FloatArray) -> Self:
        """With the first labels (LABEL_SIZE,)."""
        return cls(np.array([moment_s]), labels[None], moment_s)

    def before(self, moment_s: float) -> "LabelTrack | None":
        """Without what was said about later moments, which was predicted; None if nothing else is known."""
        place = bisect_left(self.times_s, moment_s)
        if place == len(self.times_s):
            return self
        return LabelTrack(self.times_s[:place], self.labels[:place], self.began_s) if place else None

    def add(self, moment_s: float, labels: FloatArray) -> "LabelTrack":
        """With further ones, also those that come late; those that are known change nothing."""
        if abs(moment_s - self.times_s[-1]) > LIFETIME_S:
            return LabelTrack.begin(moment_s, labels)
        place = bisect_left(self.times_s, moment_s)
        if place < len(self.times_s) and self.times_s[place] == moment_s:
            return self
        times_s = np.concatenate([self.times_s[:place], [moment_s], self.times_s[place:]])
        rows = np.concatenate([self.labels[:place], labels[None], self.labels[place:]])
        return LabelTrack(times_s[-MOST_LABELS:], rows[-MOST_LABELS:], self.began_s)


def with_frame(tracks: Mapping[int, LabelTrack], frame: LabelFrame, *, is_newest: bool = True) -> dict[int, LabelTrack]:
    """The tracks by identity of everybody in a source, with the labels of a frame.

    Args:
        is_newest: it is not late: what was predicted for later gives way, and who was away for a lifetime is forgotten.
    """
    moment_s, found = frame.describes_s, dict(tracks)
    for person in frame.people:
        labels, track = concatenate(person.labels), found.get(person.identity)
        if track is not None and is_newest:
            track = track.before(moment_s)
        found[person.identity] = LabelTrack.begin(moment_s, labels) if track is None else track.add(moment_s, labels)
    if not is_newest:
        return found
    return {who: track for who, track in found.items() if abs(track.times_s[-1] - moment_s) <= LIFETIME_S}


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


LabelsAt = Callable[[LabelTrack, float], FloatArray]
"""What a track says about a moment: labels (LABEL_SIZE,)."""


def interpolated(track: LabelTrack, at_s: float, beyond: LabelsAt) -> FloatArray:
    """Labels between two by the cubic of their velocities, which are those of parabolas through three labels.

    Args:
        beyond: what the track says of moments after the newest.
    """
    times_s, labels = track.times_s, track.labels
    if at_s >= times_s[-1]:
        return beyond(track, at_s)
    place = bisect_left(times_s, at_s)
    if place == 0:
        return np.asarray(labels[0])
    first = max(place - 2, 0)
    steps = [between(*labels[start : start + 2]) for start in range(first, min(place + 1, len(labels) - 1))]
    spans_s = np.diff(times_s[first : place + 2])
    here = place - 1 - first
    speeds = [step / span_s for step, span_s in zip(steps, spans_s, strict=True)]

    def speed(index: int) -> Float64Array:
        """Where two spans meet, or at the end of one."""
        if not 0 < index < len(speeds):
            return np.asarray(speeds[min(index, len(speeds) - 1)])
        one_s, other_s = spans_s[index - 1 : index + 1]
        return np.asarray((other_s * speeds[index - 1] + one_s * speeds[index]) / (one_s + other_s))

    span_s = float(spans_s[here])
    share = (at_s - float(times_s[place - 1])) / span_s
    value = share * share * (3 - 2 * share) * steps[here]
    value += span_s * share * (1 - share) * ((1 - share) * speed(here) - share * speed(here + 1))
    value[SLOW] = 0.0
    return moved(labels[place - 1], value)
