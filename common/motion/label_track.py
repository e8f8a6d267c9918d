"""A person's labels with their times: what predictors, completion and playout read."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from common.arrays import Float64Array, FloatArray

LIFETIME_S: Final = 1.0
"""Who was out of sight for longer may be somebody else, and begins anew."""
MOST_LABELS: Final = 121
"""How many labels of a person are kept, and given to predictors, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelTrack:
    """The newest labels of a person.

    Args:
        times_s: (n,) of capture, increasing.
        labels: (n, LABEL_SIZE).
        began_s: when the person was first seen.
    """

    times_s: Float64Array
    labels: FloatArray
    began_s: float

    @classmethod
    def begin(cls, captured_s: float, labels: FloatArray) -> Self:
        """With the first labels (LABEL_SIZE,)."""
        return cls(np.array([captured_s]), labels[None], captured_s)

    def add(self, captured_s: float, labels: FloatArray) -> "LabelTrack":
        """With further ones, also those that come late; those that are known change nothing."""
        if abs(captured_s - self.times_s[-1]) > LIFETIME_S:
            return LabelTrack.begin(captured_s, labels)
        place = bisect_left(self.times_s, captured_s)
        if place < len(self.times_s) and self.times_s[place] == captured_s:
            return self
        times_s = np.concatenate([self.times_s[:place], [captured_s], self.times_s[place:]])
        rows = np.concatenate([self.labels[:place], labels[None], self.labels[place:]])
        return LabelTrack(times_s[-MOST_LABELS:], rows[-MOST_LABELS:], self.began_s)
