"""Fixed-lag smoothing: labels filtered forwards as they come, and backwards from later frames where those are known.

A filter lags behind what moves.  The same filter, run backwards over its own output, leads by as much: the two undo
each other, and noise is filtered twice.  Where all frames wait, both may lag twice as much: on rendered clips of the
training split, less than half of the acceleration's error remains, two thirds of the slide of feet that stand, and
joints are 1.5 mm closer.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from common.arrays import FloatArray
from sender.perception.track import Memory, TrackedPerson
from sender.perception.views import View
from sender.semantics.over_time.smoothing import SPEED_GAIN, Filtered, LabelSmoother

LATER_S: Final = 0.27
"""Frames that are later by more change nothing."""
# Of `SPEED_GAIN`, where frames wait for later ones.
_WAITING_SHARE = 0.5


@dataclass(slots=True)
class _Person:
    """What the filter remembers, and the times and labels (LABEL_SIZE,) of filtered frames that wait."""

    forwards: Filtered = field(default_factory=Filtered)
    waiting: deque[tuple[float, FloatArray]] = field(default_factory=deque)


class FixedLagSmoother:
    """Filters the labels of each person.

    Args:
        strength: as of `LabelSmoother`.
        waits: whether labels are asked for when those that are `LATER_S` later are known.
    """

    def __init__(self, strength: float, *, waits: bool = False) -> None:
        gain = SPEED_GAIN * (_WAITING_SHARE if waits else 1.0)
        self._forwards, self._backwards = (LabelSmoother(strength, gain) for _ in range(2))
        self._people = Memory(_Person)

    def add(self, person: TrackedPerson, time_s: float, labels: FloatArray, view: View = "both") -> FloatArray:
        """Takes one person's labels in the next frame, and gives them filtered so far; arguments and result as of
        `LabelSmoother.smooth`."""
        known = self._people.of(person)
        filtered = self._forwards.smooth(known.forwards, time_s, labels, view)
        known.waiting.append((time_s, filtered))
        return filtered

    def next(self, person: TrackedPerson) -> FloatArray:
        """One person's labels (LABEL_SIZE,) in the oldest frame that is still here, which is forgotten.

        Raises:
            IndexError: there is none.
        """
        waiting, backwards = self._people.of(person).waiting, Filtered()
        last_s = waiting[0][0] + LATER_S
        for time_s, filtered in reversed([each for each in waiting if each[0] <= last_s]):
            labels = self._backwards.smooth(backwards, -time_s, filtered)
        waiting.popleft()
        return labels
