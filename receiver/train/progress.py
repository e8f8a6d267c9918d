"""What both training scripts of the receiver share: time-bound schedules, and checkpoints that a run resumes from."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn


def cosine_rate(peak: float, share: float, warm_up: float = 0.02) -> float:
    """Learning rate when `share` (0…1) of the training time has passed: a short ramp, then half a cosine to 1 %."""
    if share < warm_up:
        return peak * max(share / warm_up, 0.01)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warm_up) / (1 - warm_up))))
    return peak * (0.01 + 0.99 * fall)


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


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(dict(state), unfinished)
    os.replace(unfinished, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote.  Only tensors and plain containers are read from the file."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
