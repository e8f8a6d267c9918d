"""Trains the diffusion of outfits (paper §5.2): the denoiser of z', given kinds and what `surface` labels say.

The outfits are those of `python -m receiver.train.measured_outfits`.  A sender's labels are simulated: of an entry e it
explains a share K, and sends ŷ = K e + √(K (1 − K)) ε.  What is not measured of an outfit is drawn from the mixture,
so that there the diffusion does nothing.  CPU recipe: 20,000 outfits, 11 minutes on one core.

Examples:
  python -m receiver.train.diffusion --outfits outfits --out runs/diffusion --steps 20000 --export
  python -m receiver.train.diffusion --outfits outfits --out runs/diffusion --resume --export
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE
from common.body.template import BodyTemplate
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from common.wear_kinds import VALUES
from receiver.denoising import HeunStep, denoising_loss
from receiver.outfits.diffusion import (
    KIND,
    SIGMA_MAX,
    SIGMA_MIN,
    WEIGHTS_NAME,
    DiffusionConfig,
    OutfitDenoiser,
    condition,
    sample,
)
from receiver.outfits.dressing import Dresser
from receiver.outfits.guidance import explained
from receiver.outfits.mixture import BLOCK_SLICES, BLOCKS, SIZE, Styles, component, normal_of, styles
from receiver.outfits.shells import Shells
from receiver.train.measured_outfits import PARTS, MeasuredOutfits, Measures

_VALIDATION_OUTFITS = 1000
# Each outfit is described so often: its style is anywhere between those of the neighbouring shells.
_DESCRIPTIONS = 4
# Share of the outfits of which nothing was seen, and the confidences of the scores.
_UNSEEN, _CONFIDENCES = 0.3, (0.0, 0.5, 0.9)
# Of log σ: most of what is to be learned is at the noise levels around the data's own.
_LEVEL_MEAN, _LEVEL_DEVIATION = -0.2, 1.4
# Block → the entry that says where its limb ends, and the part that its shell is of.
_SUITS = {"sleeve": ("sleeve_end", "top"), "bottom": ("leg_end", "bottom")}


class Seen(NamedTuple):
    """Described outfits: x (B, D), u_m (B, C)."""

    x: Tensor
    condition: Tensor


class DescribedOutfits:
    """Outfits as x, in the coordinates of their components, with kinds and entries.

    Args:
        x: (n, D).
        kinds: (n, values) 1 for the value of each attribute.
        entries: (n, E) of the label group.
    """

    def __init__(self, outfits: MeasuredOutfits, rng: np.random.Generator, descriptions: int) -> None:
        dresser = Dresser(BodyTemplate.from_model(BodyModel.load()), Shells.load())
        rows = np.repeat(np.arange(len(outfits)), descriptions)
        described = [_described(outfits, row, dresser, rng) for row in rows.tolist()]
        self.x = torch.tensor(np.stack([x for _, x in described]), dtype=torch.float32)
        unseen = np.zeros(0, np.float32), np.zeros(0)
        kinds = np.stack([condition(kinds, *unseen) for kinds, _ in described])
        self.kinds = torch.from_numpy(kinds[:, : sum(map(len, VALUES.values()))])
        self.entries = torch.from_numpy(outfits.entries[rows])

    def __len__(self) -> int:
        return len(self.x)

    def seen(self, rows: Tensor, confidence: Tensor, generator: torch.Generator) -> Seen:
        """Some rows, and what a sender of these confidences (B,) sends of their entries."""
        shares = np.stack([explained(SURFACE_SIZE, each) for each in confidence.tolist()])
        known = torch.from_numpy(shares).float()
        noise = torch.randn(known.shape, generator=generator)
        read = known * self.entries[rows] + (known * (1 - known)).sqrt() * noise
        return Seen(self.x[rows], torch.cat([self.kinds[rows], read, known], 1))


def _described(
    outfits: MeasuredOutfits, row: int, dresser: Dresser, rng: np.random.Generator
) -> tuple[dict[str, str], "np.ndarray[Any, np.dtype[np.float64]]"]:
    """Kinds that an outfit may be said to have, and x (D,)."""
    kinds = {name: str(rng.choice(sorted(values))) for name, values in outfits.possible(row).items()}
    shells = dict(zip(PARTS, outfits.shells[row].tolist(), strict=True))
    x = rng.normal(size=SIZE)
    for block, measured in outfits.blocks(row).items():
        mean, factor = component(block, kinds)
        drawn = mean + factor @ x[BLOCK_SLICES[block]]
        styled = {"style": _style(block, measured, kinds, shells, dresser, rng), **measured}
        z_prime = [styled.get(name) for name in BLOCKS[block]]
        known = [own if value is None else value for value, own in zip(z_prime, drawn, strict=True)]
        x[BLOCK_SLICES[block]] = np.linalg.solve(factor, np.array(known) - mean)
    return kinds, x


def _style(
    block: str,
    measured: Measures,
    kinds: Mapping[str, str],
    shells: Mapping[str, str],
    dresser: Dresser,
    rng: np.random.Generator,
) -> float | None:
    """The entry that makes the dresser cut a block from the shell that the outfit was cut from; None for any."""
    if block in _SUITS:
        end, part = _SUITS[block]
        among: Styles = dresser.suits(part, measured[end])
        return normal_of(among, shells[part], rng.random())
    if block == "hair":
        return normal_of(styles(f"hair {kinds['hair']}"), shells["hair"], rng.random())
    return normal_of(styles("shoes"), shells["shoes"], rng.random()) if block == "shoes" else None


class DiffusionTraining(Recipe[OutfitDenoiser, Seen]):
    """Denoising of x under kinds and simulated labels."""

    name = WEIGHTS_NAME
    kind = KIND
    defaults = Defaults(1.5, batch=256, rate=1.5e-3, seed=2, weight_decay=1e-2, evaluate_minutes=1.0, log_every=200)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        folder = "folder with the train.npz and val.npz of receiver.train.measured_outfits"
        parser.add_argument("--outfits", type=Path, required=True, help=folder)

    def prepare(self) -> OutfitDenoiser:
        rng, tables = np.random.default_rng(self.options.seed), self.options.outfits
        self._outfits = DescribedOutfits(MeasuredOutfits.read(tables / "train.npz"), rng, _DESCRIPTIONS)
        self._val = DescribedOutfits(MeasuredOutfits.read(tables / "val.npz"), rng, 1)
        self.facts = {"outfits": len(self._outfits) // _DESCRIPTIONS, "shipped": self.options.shipped}
        return self.or_shipped(OutfitDenoiser(DiffusionConfig()))

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Seen]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        while True:
            rows = torch.randint(len(self._outfits), (count,), generator=generator)
            confidence = torch.rand(count, generator=generator)
            confidence *= torch.rand(count, generator=generator) > _UNSEEN
            yield self._outfits.seen(rows, confidence, generator)

    def step(self, network: OutfitDenoiser, batch: Seen) -> tuple[Tensor, Mapping[str, Tensor]]:
        level = _LEVEL_MEAN + _LEVEL_DEVIATION * torch.randn_like(batch.x[:, 0])
        noise = torch.randn_like(batch.x)
        sigma = level.exp().clamp(SIGMA_MIN, SIGMA_MAX)
        return denoising_loss(network, batch.x, batch.condition, sigma, noise), {}

    def evaluate(self, network: OutfitDenoiser) -> dict[str, float]:
        """Losses at some confidences, and how far samples are from the truth beside those of the mixture."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.arange(min(len(self._val), _VALIDATION_OUTFITS))
        noise = torch.randn(len(rows), SIZE, generator=generator)
        level = (_LEVEL_MEAN + _LEVEL_DEVIATION * torch.randn(len(rows), generator=generator)).exp()
        scores = {"error_mixture": _error(noise, self._val.x[rows])}
        for confidence in _CONFIDENCES:
            seen = self._val.seen(rows, torch.full((len(rows),), confidence), generator)
            seen = Seen(*(each.to(self.device) for each in seen))
            sigma = level.clamp(SIGMA_MIN, SIGMA_MAX).to(self.device)
            loss = denoising_loss(network, seen.x, seen.condition, sigma, noise.to(self.device))
            drawn = sample(HeunStep(network), noise.to(self.device), seen.condition)
            scores |= {f"loss_{confidence}": float(loss), f"error_{confidence}": _error(drawn, seen.x)}
        return scores


def _error(sample: Tensor, true: Tensor) -> float:
    """Root mean square distance of an entry, of which the mixture's own is √2."""
    return float((sample - true).square().mean().sqrt())


if __name__ == "__main__":
    raise SystemExit(main(DiffusionTraining))
