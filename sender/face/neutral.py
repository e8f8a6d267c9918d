"""What a person's face does when it does nothing: the resting level of each reading, learned over time.

Readings of people differ at rest: whoever has a long lower lip would talk all the time.  Lids: `sender.face.lids`.

Shapes: A = 52 actions.
"""

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from sender.face.resting import RestingLevels

# Of recordings in which two people make every expression, each action that is read is at rest in 0.3 of the time.
_QUANTILE = 0.3
# Standard deviations among people of resting readings, and the farthest that one is believed to be from the mean.
_SPREAD, _JAW_SPREAD = 0.08, 0.03
_FARTHEST, _JAW_FARTHEST = 0.45, 0.11
# What is no more than noise, of the way from rest to 1.  Lips: a millimetre.
_DEAD, _JAW_DEAD = 0.06, 0.045
# People count as so many seconds.
_PRIOR_S = 0.3

_NAMES = np.array(FACIAL_ACTIONS)
_JAW, _GAZE = (np.char.startswith(_NAMES, name) for name in ("jawOpen", "eyeLook"))
_CLOSE = _NAMES == "mouthClose"


class NeutralFace:
    """Of one person."""

    # Where people look is no part of their faces.
    _farthest = np.select([_GAZE, _JAW], [0.0, _JAW_FARTHEST], _FARTHEST)
    _dead = np.select([_GAZE, _JAW], [0.0, _JAW_DEAD], _DEAD)

    def __init__(self) -> None:
        spreads = np.where(_JAW, _JAW_SPREAD, _SPREAD)
        self._levels = RestingLevels(np.full(len(_NAMES), _QUANTILE), spreads, _PRIOR_S)

    def learn(self, readings: FloatArray, step_s: float) -> None:
        """Takes the readings (A,) of so many seconds."""
        self._levels.learn(readings, step_s)

    @property
    def resting(self) -> FloatArray:
        """(A,) readings at rest."""
        return np.asarray(self._levels.levels.clip(-self._farthest, self._farthest), np.float32)

    def activations(self, readings: FloatArray) -> FloatArray:
        """(A,) 0…1: how far readings (A,) are from rest."""
        acted = (readings - self.resting) / (1 - self.resting)
        activations = ((acted - self._dead) / (1 - self._dead)).clip(0, 1)
        # It brings the lips of an open jaw together, and means nothing alone.
        activations[_CLOSE] = np.minimum(activations[_CLOSE], activations[_JAW])
        return np.asarray(activations, np.float32)
