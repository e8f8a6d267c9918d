"""Parts of conditional variational autoencoders.

Shapes: … any leading axes, Z latent.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A diagonal Gaussian: mean (…, Z) and logarithm of the variance (…, Z)."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> Self:
        """From a network's output (…, 2 Z)."""
        mean, log_variance = parameters.chunk(2, dim=-1)
        return cls(mean, log_variance.clamp(-8, 4))

    def sample(self) -> Tensor:
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)

    def kl_to(self, other: Self) -> Tensor:
        """(…,) Kullback-Leibler divergence KL(self ‖ other), nats."""
        ratio = (self.log_variance - other.log_variance).exp()
        distance = (self.mean - other.mean).square() / other.log_variance.exp()
        return 0.5 * (ratio + distance - 1 - self.log_variance + other.log_variance).sum(-1)


class ResidualMLP(nn.Module):
    """(…, inputs) → (…, outputs): linear layer, residual blocks of two linear layers each, linear layer."""

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden),
                nn.Linear(hidden, hidden),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
            )
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.enter(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        output: Tensor = self.leave(hidden)
        return output
