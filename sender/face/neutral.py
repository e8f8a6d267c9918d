"""What a person's face does when it does nothing: the resting level of each reading, learned over time.

Readings of people differ at rest: whoever has narrow eyes or a long lower lip would act all the time.  A quantile of a
reading's own distribution is robust against what is done for a share of the time.  Each distribution is a histogram
that forgets; it begins with that of people, which counts as so many seconds.

Shapes: A = 52 actions, B bins.
"""

from statistics import NormalDist

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS

# Of recordings in which two people make every expression, each action that is read is at rest in 0.3 of the time; eyes
# look up and down of their usual opening as often.
_QUANTILE, _LIDS_QUANTILE = 0.3, 0.5
# Standard deviations among people of resting readings, and the farthest that one is believed to be from the mean.
_SPREAD, _LIDS_SPREAD, _JAW_SPREAD = 0.08, 0.19, 0.03
_FARTHEST, _JAW_FARTHEST = 0.45, 0.11
# What is no more than noise, and what is all, of the way from rest to 1.  Lips: a millimetre.
_DEAD, _LIDS_DEAD, _JAW_DEAD = 0.06, 0.1, 0.045
_LIDS_ALL = 0.6
# People count as so many seconds: of lids, what lasts longer than a blink is the person's own.  Then it lasts so long.
_PRIOR_S, _LIDS_PRIOR_S, _MEMORY_S = 0.3, 0.1, 60.0
_LOWEST, _HIGHEST, _BINS = -0.75, 1.25, 80

_NAMES = np.array(FACIAL_ACTIONS)
_LIDS, _JAW, _GAZE = (np.char.startswith(_NAMES, name) for name in ("eyeBlink", "jawOpen", "eyeLook"))
_CLOSE = _NAMES == "mouthClose"


class NeutralFace:
    """Of one person."""

    _quantile = np.where(_LIDS, _LIDS_QUANTILE, _QUANTILE)
    # Where people look is no part of their faces.
    _farthest = np.select([_GAZE, _JAW], [0.0, _JAW_FARTHEST], _FARTHEST)
    _dead = np.select([_GAZE, _LIDS, _JAW], [0.0, _LIDS_DEAD, _JAW_DEAD], _DEAD)
    _all = np.where(_LIDS, _LIDS_ALL, 1.0)

    def __init__(self) -> None:
        self._seconds = _PEOPLE.copy()
        self._actions = np.arange(len(_NAMES))

    def learn(self, readings: FloatArray, step_s: float) -> None:
        """Takes the readings (A,) of so many seconds."""
        self._seconds *= np.exp(-step_s / _MEMORY_S)
        places = (readings - _LOWEST) * (_BINS / (_HIGHEST - _LOWEST))
        self._seconds[self._actions, np.clip(places, 0, _BINS - 1).astype(np.intp)] += step_s

    @property
    def resting(self) -> FloatArray:
        """(A,) readings at rest."""
        below = np.cumsum(self._seconds, axis=1)
        sought = self._quantile * below[:, -1]
        place = (below < sought[:, None]).sum(axis=1)
        inside = self._seconds[self._actions, place]
        # In the bin, evenly.
        share = 1 - (below[self._actions, place] - sought) / inside
        levels = _LOWEST + (place + share) * ((_HIGHEST - _LOWEST) / _BINS)
        return np.asarray(levels.clip(-self._farthest, self._farthest), np.float32)

    def activations(self, readings: FloatArray) -> FloatArray:
        """(A,) 0…1: how far readings (A,) are from rest."""
        acted = (readings - self.resting) / (1 - self.resting)
        activations = ((acted - self._dead) / (self._all - self._dead)).clip(0, 1)
        # It brings the lips of an open jaw together, and means nothing alone.
        activations[_CLOSE] = np.minimum(activations[_CLOSE], activations[_JAW])
        return np.asarray(activations, np.float32)


def _people() -> FloatArray:
    """(A, B) seconds, of distributions whose quantiles are 0."""
    spread = np.select([_LIDS, _JAW], [_LIDS_SPREAD, _JAW_SPREAD], _SPREAD)
    edges = np.linspace(_LOWEST, _HIGHEST, _BINS + 1)
    rows = []
    for deviation, quantile in zip(spread, NeutralFace._quantile, strict=True):
        normal = NormalDist(-deviation * NormalDist().inv_cdf(quantile), deviation)
        rows.append(np.diff([normal.cdf(edge) for edge in edges]) + 1e-6)
    return np.asarray(np.where(_LIDS, _LIDS_PRIOR_S, _PRIOR_S)[:, None] * rows)


_PEOPLE = _people()
