"""What a training keeps: the moving average of its weights, and checkpoints that are written atomically."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from common.errors import OutputError, UsageError
from common.io.files import atomic_replacement

Network = TypeVar("Network", bound=nn.Module)


class AveragedNetwork(Generic[Network]):
    """Exponential moving average of a network in training; `network` is the average, which is evaluated and exported.

    Args:
        source: the network in training; its buffers (batch norm) are averaged too.
        decay: weight of the past at each step, after the first steps.
    """

    def __init__(self, source: Network, decay: float = 0.998) -> None:
        self.network: Network = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Moves the average towards `source`, faster in the first steps, so that the initial weights fade."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        other = source.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(other[name].to(value), share)
            else:
                value.copy_(other[name])

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        self.network.load_state_dict(state["network"])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, texts, nested) to `path` atomically.

    Raises:
        OutputError: the directory cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot write the checkpoint {path}: {error}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote. Raises UsageError if the checkpoint is missing or cannot be read."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"cannot resume from {path}: {error}") from error
    return state
