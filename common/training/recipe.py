"""What one training adds to `common.training.run`: flags, data, a network, a step, scores and an export.

class Line(Recipe[nn.Linear, Tensor]):
    name = "line"
    defaults = Defaults(minutes=1.0, batch=8, rate=0.1)

    def prepare(self) -> nn.Linear: …
    def batches(self, count, rng) -> Iterator[Tensor]: …
    def step(self, network, batch) -> tuple[Tensor, dict[str, Tensor]]: …
    def evaluate(self, network) -> dict[str, float]: …

if __name__ == "__main__":
    raise SystemExit(main(Line))
"""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from common.weights.devices import fast_autocast
from common.weights.loader import architecture_of, load_into, save_weights
from common.weights.manifest import Precision, Storage, WeightsEntry

Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")


class Stateful(Protocol):
    """A network or an optimiser."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults of a training's flags, and its rhythm.

    Args:
        minutes, batch, rate, seed, threads: of the flags with these names.
        warm_share: share of the length in which the learning rate rises.
        weight_decay: of AdamW.
        average_decay: of the moving average of the weights.
        largest_norm: of the gradients, which are clipped to it.
        log_every: steps from one log line to the next.
        evaluate_minutes: training time from one evaluation to the next.
    """

    minutes: float
    batch: int
    rate: float
    seed: int = 1
    threads: int = 1
    warm_share: float = 0.05
    weight_decay: float = 1e-3
    average_decay: float = 0.998
    largest_norm: float = 1.0
    log_every: int = 25
    evaluate_minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is: optimiser steps, samples, minutes."""

    steps: int = 0
    samples: int = 0
    minutes: float = 0.0


class Recipe(ABC, Generic[Network, Batch]):
    """One training.

    Args:
        recorded: the facts in the checkpoint that the training continues from.
    """

    name: ClassVar[str]
    """Of the checkpoint, and of the exported weights."""
    kind: ClassVar[str] = ""
    """Of the network, where the manifest records one."""
    storage: ClassVar[Storage] = "int8"
    """Of the exported weights."""
    precision: ClassVar[Precision] = "float32"
    """In which the exported network is used; it is scored in it."""
    defaults: ClassVar[Defaults]

    def __init__(
        self,
        options: argparse.Namespace,
        device: torch.device,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        self.options, self.device, self.recorded = options, device, recorded
        self.share = 0.0
        """Share of the training that is over."""
        self.facts: dict[str, Any] = {}
        """What `prepare` finds worth recording; saved, and part of the manifest's recipe."""

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Adds the flags that only this training has."""

    @abstractmethod
    def prepare(self) -> Network:
        """Reads the data and gives the network with its first weights."""

    @abstractmethod
    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless batches of `count` samples on the CPU, which are prepared ahead (`common.training.loading`).

        A batch is a tensor, or a tuple or dataclass of tensors and batches.
        """

    @abstractmethod
    def step(self, network: Network, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of a batch on the device, and what the log shows of it."""

    @abstractmethod
    def evaluate(self, network: Network) -> dict[str, float]:
        """Validation scores of the averaged network, without gradients, from the same random numbers each time."""

    def final_scores(self, network: Network) -> dict[str, float]:
        """Scores of the trained network, for `scores.json` and the manifest."""
        return self.evaluate(network)

    def optimisers(self, network: Network) -> Sequence[torch.optim.Optimizer]:
        """Of the network's weights, with the peak learning rate of each group."""
        weights, decay = network.parameters(), self.defaults.weight_decay
        return [torch.optim.AdamW(weights, lr=self.options.rate, weight_decay=decay, betas=(0.9, 0.98), fused=True)]

    def parts(self) -> Mapping[str, Stateful]:
        """What a checkpoint has to hold beside network, average and optimisers."""
        return {}

    def finish(self, network: Network) -> None:
        """Changes the averaged network for good before it is exported."""

    def or_shipped(self, network: Network) -> Network:
        """The network as it is, or with --shipped with the package's weights.

        Raises:
            WeightsError: they are missing, damaged, or of another network.
        """
        if self.options.shipped:
            load_into(network, self.name, self.architecture(network))
        return network.train()

    def architecture(self, network: Network) -> Mapping[str, Any]:
        """What the manifest records of the network."""
        kind = {"kind": self.kind} if self.kind else {}
        return kind | architecture_of(network.config)  # type: ignore[arg-type]

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        """What the manifest records of the training."""
        length = {"steps": progress.steps, "samples": progress.samples, "minutes": round(progress.minutes, 1)}
        return {**length, **self.facts}

    def save(self, network: Network, recipe: Mapping[str, Any], scores: Mapping[str, float]) -> WeightsEntry:
        """Writes the weights and their entry in the manifest."""
        return save_weights(
            self.name,
            network.state_dict(),
            self.architecture(network),
            recipe,
            scores,
            storage=self.storage,
            precision=self.precision,
            directory=self.options.weights,
        )

    def autocast(self, *, wanted: bool = True) -> torch.autocast:
        """A context in which the network computes in bf16 where that is fast."""
        return fast_autocast(self.device.type, wanted=wanted)
