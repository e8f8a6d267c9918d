"""What both training scripts of the receiver share: a clock over all their runs, and a pace."""

import time
from dataclasses import dataclass, field

AVERAGE_EVERY = 5
"""Steps from one update of the averaged weights to the next: they are as good, and cost a fifth."""


@dataclass(slots=True)
class TrainingClock:
    """How much of the training time has passed, over all the runs that resumed each other.

    Args:
        minutes: the training's length.
        spent_s: what earlier runs used.
    """

    minutes: float
    spent_s: float = 0.0
    _began_s: float = field(default_factory=time.monotonic)

    def elapsed_s(self) -> float:
        return self.spent_s + time.monotonic() - self._began_s

    def share(self) -> float:
        """0 at the start, 1 when the time is up."""
        return min(1.0, self.elapsed_s() / (60 * self.minutes))
