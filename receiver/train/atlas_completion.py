"""Trains the network that estimates the colours of what no camera has seen of a person.

DATA are folders that `python -m sender.train.atlases.observed` wrote.  Where the truth is known, a sample is the atlas
as it is known from some sides; in some samples, whole parts of the body are unknown, as in front of a desk.  How bright
the light is cannot be told from how bright somebody is, so the truth gets the brightness of what is known, channel by
channel.  The loss is the squared error of the clean difference at a random time; texels that are unknown count most.
CPU recipe: 62 minutes on one core.  --export also writes the averaged weights with their validation scores.

Examples:
  python -m receiver.train.atlas_completion --data observed/train --validation observed/val --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.model import BodyModel
from common.errors import SourceError
from common.texture.atlas import AtlasLayout
from common.training.optimisers import muon_and_adamw
from common.training.recipe import Defaults, Recipe
from common.training.run import main, on_device
from receiver.texture import atlas_completion
from receiver.texture.atlas_completion import (
    COMPLETION_SIZE,
    DIFFERENCE,
    CoarseLayout,
    CompletionConfig,
    CompletionNetwork,
    Condition,
    estimated,
)

# A person's parts that cameras often do not show, and how often a sample lacks each.
_PARTS = (
    (0.25, ("thigh.L", "shin.L", "foot.L", "thigh.R", "shin.R", "foot.R")),
    (0.15, ("shin.L", "foot.L", "shin.R", "foot.R")),
    (0.1, ("upper_arm.L", "forearm.L", "hand.L")),
    (0.1, ("upper_arm.R", "forearm.R", "hand.R")),
    (0.1, ("face", "scalp")),
    (0.1, ("hips",)),
)
_GAIN_RANGE = (0.6, 1.6)
_EARLIEST_TIME = 0.05
# Share of samples at time 1, where a single step starts.
_AT_ONE = 0.25
_KNOWN_WEIGHT = 0.2
# Brightness and contrast of a sample, and colour of the light: largest factors.
_EXPOSURE, _TINT = 1.25, 1.08


@dataclass(frozen=True, slots=True, eq=False)
class ObservedAtlases:
    """People and what is known of them.

    Args:
        known: (N, k, s, s, 4) uint8 RGBA; alpha says which texels are known.
        whole: (N, s, s, 4) uint8 RGBA, the truth.
    """

    known: ByteArray
    whole: ByteArray

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Self:
        """All files of some folders. Raises SourceError if a folder has none, or they are damaged."""
        files = sorted(path for folder in folders for path in folder.glob("*.npz"))
        if not files:
            raise SourceError(
                f"no atlases in {', '.join(map(str, folders))}: run python -m sender.train.atlases.observed"
            )
        known, whole = [], []
        for path in files:
            try:
                with path.open("rb") as stream, np.load(stream) as arrays:
                    known.append(arrays["known"])
                    whole.append(arrays["whole"])
            except (OSError, ValueError, KeyError, BadZipFile) as error:
                raise SourceError(f"cannot read {path}: {error}") from error
        return cls(np.concatenate(known), np.concatenate(whole))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples.

    Args:
        condition: (B, 6, s, s) of the network.
        difference: (B, 3, s, s) true differences r; 0 where there is no truth.
        weight: (B, 1, s, s) of each texel in the loss.
    """

    condition: Tensor
    difference: Tensor
    weight: Tensor


class Sampler:
    """Makes samples of atlases."""

    def __init__(self, atlases: ObservedAtlases, layout: AtlasLayout) -> None:
        self._atlases, self._layout = atlases, CoarseLayout.from_layout(layout)
        self._region = coarse_regions(layout)

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless random batches with random parts unknown and random exposure."""
        people, choices = self._atlases.known.shape[:2]
        while True:
            samples = []
            for person, choice in zip(rng.integers(people, size=count), rng.integers(choices, size=count), strict=True):
                hidden = self._hidden(rng)
                factor = _random_factor(rng, _EXPOSURE) * np.array([_random_factor(rng, _TINT) for _ in range(3)])
                samples.append(self.sample(int(person), int(choice), hidden, factor.astype(np.float32)))
            yield _stacked(samples)

    def all_of_choice(self, choice: int) -> Batch:
        """Everybody once, known from one choice of sides."""
        people = len(self._atlases.whole)
        nothing = np.zeros((COMPLETION_SIZE, COMPLETION_SIZE), np.bool_)
        one = np.ones(3, np.float32)
        return _stacked([self.sample(person, choice, nothing, one) for person in range(people)])

    def sample(self, person: int, choice: int, hidden: BoolArray, factor: FloatArray) -> tuple[Tensor, Tensor, Tensor]:
        """One sample, with texels (s, s) that are hidden, and colours times a factor (3,)."""
        seen, whole = self._atlases.known[person, choice], self._atlases.whole[person]
        known, true = (seen[..., 3] > 0) & ~hidden, (whole[..., 3] > 0) & self._layout.skin
        colours = (seen[..., :3] * factor).clip(0, 255)
        condition = Condition.from_colours(self._layout, np.rint(colours).astype(np.uint8), known)
        gain = _brightness_gain(colours, whole[..., :3], known & true)
        target = torch.from_numpy((whole[..., :3] * gain).clip(0, 255).astype(np.float32) / 255).permute(2, 0, 1)
        there = torch.from_numpy(true)
        weight = torch.from_numpy(np.where(known, _KNOWN_WEIGHT, 1.0).astype(np.float32)) * there
        return condition.channels, (target - condition.filling) / DIFFERENCE * there, weight[None]

    def _hidden(self, rng: np.random.Generator) -> BoolArray:
        hidden = np.zeros_like(self._layout.skin)
        for share, names in _PARTS:
            if rng.random() < share:
                hidden |= np.isin(self._region, [REGION_INDEX[name] for name in names])
        return hidden


def coarse_regions(layout: AtlasLayout) -> IntArray:
    """(s, s) body region of each texel at the size of the completion, −1 for none."""
    regions = np.full(COMPLETION_SIZE**2, -1, np.int64)
    regions[layout.squares(ATLAS_SIZE // COMPLETION_SIZE)] = layout.region
    return regions.reshape(COMPLETION_SIZE, COMPLETION_SIZE)


def _random_factor(rng: np.random.Generator, largest: float) -> float:
    return float(np.exp(rng.uniform(-1, 1) * np.log(largest)))


def _brightness_gain(colours: FloatArray, whole: ByteArray, both: BoolArray) -> FloatArray:
    """(3,) factors that give the truth (s, s, 3) the brightness of what is known of it."""
    if not both.any():
        return np.ones(3, np.float32)
    gain = colours[both].sum(axis=0) / np.maximum(whole[both].sum(axis=0, dtype=np.float64), 1.0)
    return np.asarray(gain.clip(*_GAIN_RANGE), np.float32)


def _stacked(samples: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    return Batch(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


def step_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Weighted squared error of the clean difference at random times."""
    time, kind = torch.rand(2, len(batch.condition), device=batch.condition.device)
    time = torch.where(kind < _AT_ONE, 1.0, 1 - (1 - _EARLIEST_TIME) * time)
    t = time[:, None, None, None]
    point = (1 - t) * batch.difference + t * torch.randn_like(batch.difference)
    squares = (network(point, batch.condition, time) - batch.difference).square().mean(1, keepdim=True)
    errors = (batch.weight * squares).sum((1, 2, 3)) / batch.weight.sum((1, 2, 3)).clamp(min=1)
    loss: Tensor = (errors / time).mean()
    return loss


class AtlasCompletionTraining(Recipe[CompletionNetwork, Batch]):
    """Squared error of the clean difference at random times."""

    name, kind = atlas_completion.WEIGHTS_NAME, atlas_completion.KIND
    defaults = Defaults(minutes=62.0, batch=16, rate=2e-3, warm_share=0.03, average_decay=0.995, log_every=50)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="atlases to train on")
        parser.add_argument("--validation", type=Path, required=True, metavar="DIR", help="atlases of the split val")

    def prepare(self) -> CompletionNetwork:
        layout = AtlasLayout.from_body(BodyModel.load())
        atlases, held_back = ObservedAtlases.read(self.options.data), ObservedAtlases.read([self.options.validation])
        sampler, self._sampler = Sampler(held_back, layout), Sampler(atlases, layout)
        self._validation = [sampler.all_of_choice(choice) for choice in range(held_back.known.shape[1])]
        self.facts = {"people": len(atlases.whole), "shipped": self.options.shipped}
        shipped = atlas_completion.load_network().requires_grad_(True) if self.options.shipped else None
        return (shipped or CompletionNetwork(CompletionConfig())).to(memory_format=torch.channels_last)

    def optimisers(self, network: CompletionNetwork) -> Sequence[torch.optim.Optimizer]:
        return muon_and_adamw(network, self.options.rate)

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Batch]:
        return self._sampler.batches(count, rng)

    def step(self, network: CompletionNetwork, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        with self.autocast():
            return step_loss(network, batch), {}

    def evaluate(self, network: CompletionNetwork) -> dict[str, float]:
        """Mean absolute error, 0…255, of unknown texels by sides: of the smooth filling and of the network."""
        scores = {}
        for choice, batch in enumerate(on_device(each, self.device) for each in self._validation):
            unknown = batch.weight >= 1
            found = estimated(network, batch.condition, torch.Generator().manual_seed(0))
            for name, difference in (("filling", torch.zeros_like(found)), ("network", found)):
                errors = (difference - batch.difference).abs().mean(1, keepdim=True)
                scores[f"error_sides_{choice}_{name}"] = float(255 * DIFFERENCE * errors[unknown].mean())
        return scores


if __name__ == "__main__":
    raise SystemExit(main(AtlasCompletionTraining))
