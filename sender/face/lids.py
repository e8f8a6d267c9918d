"""What a person's lids do: blinks, told from noise, from gaze and from what else moves a face.

    distances between lids ─ less their rest ─ both eyes together ─ steady ─ activations

Blinks are changes of an opening that is one's own: Soukupová and Čech, *Real-time eye blink detection using facial
landmarks*, 2016.  The network reads lids from the whole face, and closes them when a hand is before the mouth.
Constants were chosen on rendered heads that do what recorded faces do.
"""

import math

import numpy as np

from common.arrays import FloatArray
from sender.face.resting import RestingLevels
from sender.perception.views import USUAL_STEP_S

# Standard deviation among people of open eyes, and the farthest from 0 that they are believed to be.
_SPREAD, _FARTHEST = 0.19, 0.45
# Whoever comes is taken as with open eyes: people count as so many seconds.
_PRIOR_S = 1e-3
# Eyes that look up are wider open, and blink from there: in a second, what is usual of late goes so far towards now.
_RECENT_PER_S = 1.0
# What is no more than rest, and what is a closed eye, of the way from rest to 1.
_DEAD, _CLOSED = 0.1, 0.4
# Of a change d, d²/(d² + σ²) is followed; σ is so many times what changes from frame to frame, of late and at first.
_JITTER, _JITTER_S, _AT_FIRST = 3.0, 1.1, 0.03
# A change counts as so many usual ones at most: a blink is no jitter.  Landmarks that do not move at all are copies.
_MOST_CHANGE, _LEAST_JITTER = 3.0, 0.01
# Lids move together: of a difference d between them, d²/(d² + σ²) is one.
_APART = 0.25
# Of a head turned so far, radians, the other eye is hardly seen: both lids are those of the nearer one.
_PROFILE = 0.6


class Lids:
    """Of one person, from frame to frame."""

    def __init__(self) -> None:
        self._resting = RestingLevels(np.full(2, 0.5), np.full(2, _SPREAD), _PRIOR_S)
        self._both, self._apart = _Steady(), _Steady()
        self.lose()

    def lose(self) -> None:
        """Forgets what they did last; what is usual stays."""
        self._recent: FloatArray | None = None
        self._both.value = self._apart.value = None

    def follow(self, closed: FloatArray, rotation: FloatArray, step_s: float) -> FloatArray:
        """What lids do in the next frame, (2,) of the left and the right eye, 0 open … 1 closed.

        Args:
            closed: (2,) readings of their distances: 0 open … 1 closed, not limited.
            rotation: (3, 3) of the head.
            step_s: from the frame before.
        """
        self._resting.learn(closed, step_s)
        recent = closed if self._recent is None else self._recent
        rest = np.minimum(self._resting.levels.clip(-_FARTHEST, _FARTHEST), recent)
        farthest = _RECENT_PER_S * step_s
        self._recent = recent + (closed - recent).clip(-farthest, farthest)
        share = _share_of_left(rotation)
        both, apart = _together((closed - rest) / (1 - rest), share)
        lids = _each(self._both.follow(both, step_s), self._apart.follow(apart, step_s), share)
        return np.asarray(((lids - _DEAD) / (_CLOSED - _DEAD)).clip(0, 1), np.float32)


class _Steady:
    """A value whose jitter is smoothed."""

    def __init__(self) -> None:
        self.value: float | None = None
        self._last, self._jitter = 0.0, _AT_FIRST

    def follow(self, now: float, step_s: float) -> float:
        """The value in the next frame."""
        if self.value is None:
            self.value = self._last = now
        jitter = min(abs(now - self._last), _MOST_CHANGE * self._jitter)
        jitter = self._jitter + (jitter - self._jitter) * (1 - math.exp(-step_s / _JITTER_S))
        self._jitter, self._last = max(jitter, _LEAST_JITTER), now
        change, variance = now - self.value, (_JITTER * self._jitter) ** 2
        # Of frames that follow each other faster, each says less that is new.
        ignored = (variance / (change**2 + variance)) ** min(step_s / USUAL_STEP_S, 1.0)
        self.value += change * (1 - ignored)
        return self.value


def lids_of_still(readings: FloatArray, rotation: FloatArray) -> FloatArray:
    """(2,) of a picture of its own, which has no history, of readings (2,); otherwise as `Lids.follow`."""
    share = _share_of_left(rotation)
    return np.asarray(_each(*_together(readings, share), share).clip(0, 1), np.float32)


def _share_of_left(rotation: FloatArray) -> float:
    """How much the left eye tells of both, 0…1."""
    # The back of the head, +z, is on the other side of where the nose points.
    yaw = math.atan2(float(rotation[0, 2]), float(rotation[2, 2]))
    return 0.5 + 0.5 * max(min(yaw / _PROFILE, 1.0), -1.0)


def _together(each: FloatArray, share: float) -> tuple[float, float]:
    """Of the left and the right eye (2,), what both do, and how far they are apart, as far as both are seen."""
    left, right = each.tolist()
    apart = left - right
    seen = 2 * min(share, 1 - share) * apart**2 / (apart**2 + _APART**2)
    return share * left + (1 - share) * right, seen * apart


def _each(both: float, apart: float, share: float) -> FloatArray:
    """(2,) the left and the right eye of `_together`."""
    return np.array([both + (1 - share) * apart, both - share * apart], np.float32)
