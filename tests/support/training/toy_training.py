"""A training of a few weights, to run what all trainings share."""

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.training.recipe import Defaults, Recipe


class Rows(NamedTuple):
    """Inputs (B, 4), and their sums (B, 1)."""

    x: Tensor
    y: Tensor


class Sums(nn.Sequential):
    """A few weights."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))


class ToyTraining(Recipe[Sums, Rows]):
    """Learns the sum of four numbers."""

    name = "toy"
    defaults = Defaults(minutes=1.0, batch=8, rate=0.05, seed=3, average_decay=0.9, log_every=2)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--scale", type=float, default=1.0, help="of the rows")

    def prepare(self) -> Sums:
        self._validation = self._rows(np.random.default_rng(99))
        self.facts = {"scale": self.options.scale}
        torch.manual_seed(0)
        return Sums()

    def optimisers(self, network: Sums) -> Sequence[torch.optim.Optimizer]:
        first, rest = network[0].parameters(), network[2].parameters()
        rate = self.options.rate
        return [torch.optim.SGD(first, lr=rate, momentum=0.5), torch.optim.AdamW(rest, lr=rate, weight_decay=0.0)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Rows]:
        for step in itertools.count():
            # The same rows after a resumption.
            yield self._rows(np.random.default_rng(step))

    def _rows(self, rng: np.random.Generator) -> Rows:
        x = torch.from_numpy(rng.normal(scale=self.options.scale, size=(self.options.batch, 4))).float()
        return Rows(x, x.sum(1, keepdim=True))

    def step(self, network: Sums, batch: Rows) -> tuple[Tensor, Mapping[str, Tensor]]:
        errors = network(batch.x) - batch.y
        return errors.square().mean(), {"largest": errors.abs().amax()}

    def evaluate(self, network: Sums) -> dict[str, float]:
        x, y = (part.to(self.device) for part in self._validation)
        return {"error": float((network(x) - y).square().mean())}

    def architecture(self, network: Sums) -> Mapping[str, int]:
        return {"weights": sum(weight.numel() for weight in network.parameters())}
