"""What a training is made of: its flags, batches, optimiser and schedule, and what it must define.

What one training adds to `common.training.run`: flags, data, a network, a step, scores and an export.

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
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from common.io.command_line import parser_of
from common.weights.devices import fast_autocast
from common.weights.loader import architecture_of, load_into, save_weights
from common.weights.manifest import WEIGHTS_DIRECTORY, Precision, Storage, WeightsEntry
from common.weights.threads import DeviceConfig

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
        self, options: argparse.Namespace, device: torch.device, recorded: Mapping[str, Any] | None = None
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
        """Endless batches of `count` samples on the CPU, which are prepared ahead.

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

    def autocast(self) -> torch.autocast:
        """A context in which the network computes in bf16 where that is fast."""
        return fast_autocast(self.device.type)


def parser_of_training(recipe_type: type[Recipe[Any, Any]]) -> argparse.ArgumentParser:
    """A parser with the flags of every training, and those of one."""
    module, defaults = sys.modules[recipe_type.__module__], recipe_type.defaults
    parser = parser_of(f"python -m {module.__spec__.name if module.__spec__ else '…'}", module.__doc__ or "")
    add = parser.add_argument
    recipe_type.add_flags(parser)
    folder = Path("runs") / recipe_type.name
    add("--out", type=Path, default=folder, metavar="DIR", help="folder of checkpoint and scores (%(default)s)")
    add("--device", type=_device, default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N (auto)")
    add("--minutes", type=float, default=defaults.minutes, help="training time over all resumed runs (%(default)g)")
    add("--steps", type=int, help="train for this many steps instead of --minutes; 0 only evaluates")
    add("--batch", type=int, default=defaults.batch, help="samples a step (%(default)s)")
    add("--rate", type=float, default=defaults.rate, help="peak learning rate (%(default)g)")
    add("--seed", type=int, default=defaults.seed, help="of all randomness (%(default)s)")
    add("--threads", type=int, default=defaults.threads, help="CPU threads (%(default)s)")
    add("--loaders", type=int, default=0, help="processes that prepare batches, for a GPU (a thread of the training)")
    add("--compile", action="store_true", help="faster steps after some minutes of compilation")
    add("--resume", action="store_true", help="continue from the checkpoint in --out, if it exists")
    add("--shipped", action="store_true", help="start from the package's weights")
    add_export_flags(parser, "also write the weights and their scores when done")
    return parser


def add_export_flags(parser: argparse.ArgumentParser, export_help: str) -> None:
    """Adds whether and where weights are written."""
    add = parser.add_argument
    add("--export", action="store_true", help=export_help)
    weights = "folder that --export writes to (default: the package's)"
    add("--weights", type=Path, default=WEIGHTS_DIRECTORY, metavar="DIR", help=weights)


def _device(text: str) -> str:
    try:
        return DeviceConfig(text).device
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


Item = TypeVar("Item")

# Batches that each process prepares ahead.
_AHEAD = 4
# Channels from which a layer is wide.
_WIDE = 48


def loaded(batches: Callable[[np.random.Generator], Iterator[Item]], seed: int, processes: int = 0) -> Generator[Item]:
    """Endless batches, prepared while earlier ones are in use.

    Args:
        batches: gives endless batches; its random numbers differ between processes.
        seed: of all of them.
        processes: that prepare batches, each some ahead; with 0, a thread prepares one.
    """
    if processes:
        # Forked: pictures and shards that are read already are shared.
        yield from DataLoader(
            _Batches(batches, seed),
            batch_size=None,
            num_workers=processes,
            prefetch_factor=_AHEAD,
            multiprocessing_context="fork",
            # By default, the loader makes lists of tuples.
            collate_fn=lambda batch: batch,
        )
    source = batches(np.random.default_rng(seed))
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, source)
        while True:
            batch = coming.result()
            coming = reader.submit(next, source)
            yield batch


class _Batches(IterableDataset[Item], Generic[Item]):
    def __init__(self, batches: Callable[[np.random.Generator], Iterator[Item]], seed: int) -> None:
        self._batches, self._seed = batches, seed

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        assert worker is not None
        # OpenCV's threads do not survive a fork, and the processes are parallel enough.
        cv2.setNumThreads(0)
        return self._batches(np.random.default_rng([self._seed, worker.id]))


class ConvolutionMuon(torch.optim.Muon):
    """Muon, which takes matrices, for weights (out, in, …) of more dimensions.

    The root mean square of an update relative to the learning rate is that of AdamW (Liu et al. 2025, "Muon is
    scalable").
    """

    def __init__(self, weights: Sequence[Tensor], lr: float) -> None:
        self._weights = list(weights)
        matrices = [weight.detach().flatten(1).clone() for weight in weights]
        super().__init__(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        pairs = list(zip(self._weights, self.param_groups[0]["params"], strict=True))
        for weight, matrix in pairs:
            matrix.copy_(weight.flatten(1))
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step()  # type: ignore[no-untyped-call]
        for weight, matrix in pairs:
            weight.copy_(matrix.view(weight.shape))


def muon_and_adamw(
    network: nn.Module, rate: float, layers: tuple[type[nn.Module], ...] = (nn.Conv2d,)
) -> list[torch.optim.Optimizer]:
    """Muon for the weights of `layers` between wide layers, without modulations; AdamW for all else."""
    matrices = [
        module.weight
        for name, module in network.named_modules()
        if isinstance(module, layers)
        and isinstance(module.weight, Tensor)
        and min(module.weight.shape[:2]) >= _WIDE
        and "modulation" not in name
    ]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in network.parameters() if id(weight) not in chosen]
    adamw = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [ConvolutionMuon(matrices, rate), adamw] if matrices else [adamw]
