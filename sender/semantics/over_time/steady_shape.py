"""The shape of somebody's body, which does not change: its mean over seconds, and the distance that goes with it.

On rendered clips of the validation split, the mean moves a fifth as much from frame to frame, and the joints are as
exact.  Whoever is taken for larger is taken to be farther away; the distance is made that of the averaged body.
"""

import numpy as np

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_SCALE
from common.labels import group_slices
from sender.perception.track import HELD_S

_SHAPE, _DISTANCE = group_slices()["shape"], group_slices()["root"].stop - 1
# Seconds that the mean covers: a tracker may give an identity to somebody else.
_SHAPE_S = 5.0
# The logarithm of a body's size by the first entry of `shape`, and the share of it that the distance follows on
# rendered clips of the training split.
_LOG_SIZE, _SIZE_SHARE = -0.097, 0.6
_DISTANCE_BY_SIZE = np.float32(_SIZE_SHARE * _LOG_SIZE / TRANSLATION_SCALE[2])


class SteadyShape:
    """One person's."""

    def __init__(self) -> None:
        self._mean, self._last_s, self._frames = np.zeros(_SHAPE.stop - _SHAPE.start, np.float32), -np.inf, 0

    def steady(self, entries: FloatArray, time_s: float) -> FloatArray:
        """The next frame's label entries (E,), in which the shape is the mean.

        Args:
            time_s: of the frame, on the source's clock; the mean begins again if it does not advance.
        """
        step_s, self._last_s = time_s - self._last_s, time_s
        self._frames = self._frames + 1 if 0.0 < step_s <= HELD_S else 1
        share = np.float32(max(1 / self._frames, min(step_s / _SHAPE_S, 1.0)))
        self._mean = self._mean + share * (entries[_SHAPE] - self._mean)
        steady = entries.copy()
        steady[_SHAPE] = self._mean
        steady[_DISTANCE] -= _DISTANCE_BY_SIZE * (entries[_SHAPE][0] - self._mean[0])
        return steady
