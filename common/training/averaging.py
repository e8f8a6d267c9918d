"""Exponential moving average of a network's weights: what is evaluated and shipped."""

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class AveragedNetwork(Generic[Network]):
    """Follows a network in training; `network` holds the average.

    Args:
        source: the network being trained; its buffers (batch norm) are averaged too.
        decay: weight of the past at each step, once enough steps have been seen.
    """

    def __init__(self, source: Network, decay: float = 0.998) -> None:
        self.network: Network = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Moves the average towards `source`; early steps move it faster, or it would remember the initialisation."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        blend(self.network, source.state_dict(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.network.state_dict(), "averaging.steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state["averaging.steps"])
        self.network.load_state_dict({name: value for name, value in state.items() if name != "averaging.steps"})


@torch.no_grad()
def blend(network: nn.Module, other: Mapping[str, Tensor], share: float) -> None:
    """Moves a network's weights and buffers by `share` (0…1) of the way to those of another one of its kind.

    Counters, of which there is no mean, become the other one's.
    """
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.lerp_(other[name].to(value), share)
        else:
            value.copy_(other[name])
