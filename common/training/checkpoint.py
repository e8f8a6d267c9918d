"""What a training keeps: the moving average of its weights, and checkpoints that are written atomically."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from common.errors import OutputError, UsageError
from common.io.atomic_write import atomic_replacement

Network = TypeVar("Network", bound=nn.Module)
# Beside the weights in the state of an average.
_STEPS = "averaging.steps"


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
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        blend(self.network, source.state_dict(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.network.state_dict(), _STEPS: torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state[_STEPS])
        self.network.load_state_dict(averaged_weights(state))


def averaged_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in the state of an average, which a checkpoint holds as `average`."""
    return {name: value for name, value in state.items() if name != _STEPS}


@torch.no_grad()
def blend(network: nn.Module, other: Mapping[str, Tensor], share: float) -> None:
    """Linear interpolation, in place, from a network's weights and buffers to the state of another of its kind.

    Args:
        other: a state dict; integer counters are copied from it.
        share: weight of `other`, 0…1.
    """
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.lerp_(other[name].to(value), share)
        else:
            value.copy_(other[name])


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
