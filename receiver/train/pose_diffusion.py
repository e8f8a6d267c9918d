"""Trains the diffusion of unseen limbs (paper §5.2): the denoiser of poses, given what a sender says of them.

Poses are those of `receiver.train.poses`; some of their groups are hidden, and what is sent of them has the errors that
senders have.  CPU recipe: 5 minutes on one core.

Examples:
  python -m receiver.train.pose_diffusion --windows windows30 --out runs/pose_diffusion --export
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.synthetic.motion.windows import open_windows
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from receiver.denoising import denoising_loss
from receiver.motion.mixture import (
    DIFFUSION_WEIGHTS,
    DOWN,
    DOWN_SIGMA,
    ENTRIES,
    ESTIMATED,
    GROUPS,
    GUESSED,
    KIND,
    SENT,
    SIZE,
    SPEED,
    SPEED_SIGMA,
    PoseDenoiser,
    PoseDiffusionConfig,
    condition,
    generated,
)
from receiver.train.poses import FPS, Poses

_STRIDE, _VALIDATION_STRIDE = 2, 6
_DROPOUT = 0.1
# Of log σ, as for outfits.
_LEVEL_MEAN, _LEVEL_DEVIATION, _LEAST, _MOST = -0.2, 1.4, 0.03, 10.0
_LEAST_SCALE = 0.1
_KNOWN = 0.9
# What is hidden, and how often.
_LEGS, _ARMS = ("left_leg", "right_leg"), ("left_arm", "right_arm", "hands")
_HIDDEN: Mapping[tuple[str, ...], float] = {
    _LEGS: 0.5, _LEGS[:1]: 0.06, _LEGS[1:]: 0.06, _ARMS[:1]: 0.06, _ARMS[1:2]: 0.06, _ARMS: 0.06, _LEGS + _ARMS: 0.1,
    _LEGS + _ARMS[:1]: 0.04, _LEGS + _ARMS[1:2]: 0.04, ("head",): 0.02,
}  # fmt: skip


class Described(NamedTuple):
    """Poses: standardised x (B, D) of generated entries, u_m (B, C), and which entries are generated."""

    x: Tensor
    condition: Tensor
    generated: Tensor


def estimated_of(x: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
    """(B, SIZE) what a sender estimates of poses x (B, SIZE) without these groups (B, G)."""
    tables = np.zeros((2, 3, SIZE), np.float32)
    for table, by_group in zip(tables, (SENT, GUESSED), strict=True):
        for name in SENT:
            leading = ENTRIES[name][: len(SENT[name][0])]
            for row, values in zip(table, by_group[name], strict=True):
                row[leading[: len(values)]] = values[: len(leading)]
    places = [GROUPS.index(next(name for name in GROUPS if entry in ENTRIES[name])) for entry in ESTIMATED]
    guessed = hidden[:, places].float()[:, None]
    seen, unseen = (torch.from_numpy(table[:, ESTIMATED]) for table in tables)
    shift, share, sigma = ((1 - guessed) * seen + guessed * unseen).unbind(1)
    estimated = x.clone()
    noise = torch.randn(x.shape, generator=generator)
    estimated[:, ESTIMATED] = shift + share * (x[:, ESTIMATED] + sigma * noise[:, ESTIMATED])
    estimated[:, DOWN] += torch.tensor(DOWN_SIGMA) * noise[:, DOWN]
    estimated[:, SPEED:] += SPEED_SIGMA * noise[:, SPEED:]
    return estimated


class PoseDiffusionTraining(Recipe[PoseDenoiser, Described]):
    """Denoising of hidden entries given what is sent."""

    name = DIFFUSION_WEIGHTS
    kind = KIND
    defaults = Defaults(
        5.0, batch=512, rate=1.5e-3, weight_decay=1e-2, average_decay=0.995, evaluate_minutes=1.0, log_every=500
    )

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        folder = "folder of common.synthetic.motion.windows, 30 frames a second"
        parser.add_argument("--windows", type=Path, required=True, help=folder)

    def prepare(self) -> PoseDenoiser:
        windows = open_windows(self.options.windows, FPS)
        self._poses, self._val = Poses(windows, "train", _STRIDE), Poses(windows, "val", _VALIDATION_STRIDE)
        network = PoseDenoiser(PoseDiffusionConfig(), _DROPOUT)
        x, weights = self._poses.x[:, :SPEED], self._poses.weights / self._poses.weights.sum()
        mean = weights @ x
        network.mean.copy_(torch.from_numpy(mean))
        network.scale.copy_(torch.from_numpy(np.sqrt(weights @ np.square(x - mean))).clamp_min(_LEAST_SCALE))
        self._mean, self._scale = network.mean.clone(), network.scale.clone()
        self.facts = {"clips": self._poses.clips, "poses": len(x), "shipped": self.options.shipped}
        return self.or_shipped(network)

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Described]:
        while True:
            yield self._described(self._poses, count, rng)

    def _described(self, poses: Poses, count: int, rng: np.random.Generator) -> Described:
        rows = rng.choice(len(poses.x), count, p=poses.weights / poses.weights.sum())
        chances = np.array(list(_HIDDEN.values()))
        chosen = rng.choice(len(chances), count, p=chances / chances.sum())
        groups = torch.tensor([[name in names for name in GROUPS] for names in _HIDDEN])
        hidden, known = groups[chosen], torch.from_numpy(rng.random((count, 1)) < _KNOWN)
        x = torch.from_numpy(poses.x[rows]).float()
        estimated = estimated_of(x, hidden, torch.Generator().manual_seed(int(rng.integers(2**62))))
        mask = generated(hidden)
        u_m = condition(estimated, hidden, known.expand_as(hidden), torch.from_numpy(poses.modes[rows]))
        return Described(mask * (x[:, :SPEED] - self._mean) / self._scale, u_m, mask)

    def step(self, network: PoseDenoiser, batch: Described) -> tuple[Tensor, Mapping[str, Tensor]]:
        level = _LEVEL_MEAN + _LEVEL_DEVIATION * torch.randn_like(batch.x[:, 0])
        noise = batch.generated * torch.randn_like(batch.x)
        sigma = level.exp().clamp(_LEAST, _MOST)
        # All entries count, so that those of what is seen stay 0; only the generated ones are divided by.
        share = batch.generated.mean()
        return denoising_loss(network, batch.x, batch.condition, sigma, noise) / share, {}

    def evaluate(self, network: PoseDenoiser) -> dict[str, float]:
        """The loss on people and motions kept elsewhere."""
        rng = np.random.default_rng(0)
        losses = [
            self.step(network, Described(*(each.to(self.device) for each in self._described(self._val, 2000, rng))))
            for _ in range(3)
        ]
        return {"loss": float(torch.stack([loss for loss, _ in losses]).mean())}


if __name__ == "__main__":
    raise SystemExit(main(PoseDiffusionTraining))
