"""What both training scripts of the receiver share: a clock over all their runs, and averaged weights."""

import time
from dataclasses import dataclass, field

import torch
from torch import nn

AVERAGE_EVERY = 5
"""Steps from one update of the average to the next: it is as good, and costs a fifth."""


@torch.no_grad()
def follow(average: nn.Module, current: nn.Module, step: int, decay: float = 0.99) -> None:
    """Moves the averaged weights towards the current ones: exponentially, over few steps while there are few."""
    count = step // AVERAGE_EVERY
    weight = 1 - min(decay, (1 + count) / (10 + count))
    for mean, value in zip(average.parameters(), current.parameters(), strict=True):
        mean.lerp_(value, weight)


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
