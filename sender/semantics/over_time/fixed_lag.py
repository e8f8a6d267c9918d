"""Fixed-lag smoothing: labels filtered forwards as they come, and backwards from later frames where those are known.

A filter lags behind what moves.  The same filter, run backwards over its own output, leads by as much: the two undo
each other, and noise is filtered twice.  Where all frames wait, both may lag twice as much: on rendered clips of the
training split, less than half of the acceleration's error remains, two thirds of the slide of feet that stand, and
joints are 1.5 mm closer.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from common.arrays import FloatArray
from sender.perception.tracking.view_turns import View
from sender.semantics.over_time.smoothing import SPEED_GAIN, LabelSmoother

LATER_S: Final = 0.27
"""Frames that are later by more change nothing."""
# Of `SPEED_GAIN`, where frames wait for later ones.
_WAITING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class _Filtered:
    time_s: float
    labels: FloatArray


class FixedLagSmoother:
    """Filters the labels of each identity.

    Args:
        strength: as of `LabelSmoother`.
        waits: whether labels are asked for when those that are `LATER_S` later are known.
    """

    def __init__(self, strength: float, *, waits: bool = False) -> None:
        gain = SPEED_GAIN * (_WAITING_SHARE if waits else 1.0)
        self._forwards, self._backwards = (LabelSmoother(strength, gain) for _ in range(2))
        self._waiting: dict[int, deque[_Filtered]] = {}

    def reset(self) -> None:
        """Forgets everybody, for a new source."""
        self._forwards.reset()
        self._waiting.clear()

    def add(self, identity: int, time_s: float, labels: FloatArray, view: View = "both") -> FloatArray:
        """Takes one person's labels in the next frame, and gives them filtered so far; arguments and result as of
        `LabelSmoother.smooth`."""
        filtered = self._forwards.smooth(identity, time_s, labels, view)
        self._waiting.setdefault(identity, deque()).append(_Filtered(time_s, filtered))
        return filtered

    def next(self, identity: int) -> FloatArray:
        """One person's labels (LABEL_SIZE,) in the oldest frame that is still here, which is forgotten.

        Raises:
            KeyError: there is none.
        """
        waiting = self._waiting[identity]
        last_s = waiting[0].time_s + LATER_S
        self._backwards.reset()
        for frame in reversed([each for each in waiting if each.time_s <= last_s]):
            labels = self._backwards.smooth(identity, -frame.time_s, frame.labels)
        waiting.popleft()
        if not waiting:
            del self._waiting[identity]
        return labels
