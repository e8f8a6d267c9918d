"""Trains the motion network: what somebody does next, from labels with errors like a sender's.

Half of the labels have errors of perception (`receiver.train.motion_errors`), the others invented ones.  The loss is
the distance of the joints up to 0.6 s after the newest labels, and that of their velocities, from the truth with the
errors that labels will then have: those that last cannot be told, and whoever tries to slows all movements down.
CPU recipe: an hour on one core.

Examples:
  python -m receiver.train.motion --windows windows60 --perceived perceived --out runs/motion --export
  python -m receiver.train.motion --windows windows60 --perceived perceived --out runs/motion --resume --export
"""

import argparse
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.motion.history import after_change
from common.motion.network import KIND, WEIGHTS_NAME, MotionConfig, MotionNetwork
from common.synthetic.motion.windows import open_windows
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from receiver.train.motion_errors import Errors
from receiver.train.motion_samples import FPS, MOST_AFTER_S, Clips, Joints, Samples, Wanted, samples

_RATES = (30, 24, 20, 15, 12, 10, 8, 6, 5, 4, 3)
# Share of labels that perception has seen; to them less noise is added.
_PERCEIVED, _LESS_NOISE = 0.5, 0.2
_MOST_NOISE = 1.5
_VELOCITY_WEIGHT, _POSE_WEIGHT, _ENTRY_WEIGHT = 0.02, 0.5, 0.02
# What the scores are of: the delay of a link, labels a second, moments.
_LAG_S, _SCORED_RATES, _SCORED = 0.06, (30, 10, 5, 3), 3000


class MotionTraining(Recipe[MotionNetwork, Samples]):
    """The joints at the time of display."""

    name = WEIGHTS_NAME
    kind = KIND
    defaults = Defaults(60.0, batch=384, rate=1.5e-3, weight_decay=1e-2, evaluate_minutes=5.0, log_every=100)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--windows", type=Path, required=True, help="folder of common.synthetic.motion.windows, 60 frames a second")
        add("--perceived", type=Path, required=True, help="folder of sender.train.perceived_motion: train.npz, val.npz")

    def prepare(self) -> MotionNetwork:
        windows, space = open_windows(self.options.windows, FPS), LabelSpace.load()
        self._train, self._val = (Clips(windows, split, space) for split in ("train", "val"))
        self._errors, self._val_errors = (Errors.read(self.options.perceived / f"{s}.npz") for s in ("train", "val"))
        self._joints = Joints().to(self.device)
        perceived = len(self._errors)
        self.facts = {"frames": len(self._train.usable), "perceived": perceived, "shipped": self.options.shipped}
        return self.or_shipped(MotionNetwork(MotionConfig()))

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Samples]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        while True:
            rate = torch.tensor(_RATES)[torch.randint(len(_RATES), (count,), generator=generator)].float()
            noise, stays, share, kind = torch.rand(4, count, generator=generator)
            perceived = (kind < _PERCEIVED).float()
            noise = _MOST_NOISE * noise * (1 - (1 - _LESS_NOISE) * perceived)
            reach = (_LAG_S + 1.5 / rate + 0.1).clamp(max=MOST_AFTER_S)
            wanted = Wanted(rate, noise, stays, share * reach, perceived, varied=True)
            yield samples(self._train, self._errors, wanted, generator)

    def step(self, network: MotionNetwork, batch: Samples) -> tuple[Tensor, Mapping[str, Tensor]]:
        read = network.context(batch.tokens, batch.newest, batch.counts)
        errors, entries = [], []
        for after_s, true in ((batch.after_s, batch.first), (batch.after_s + batch.step_s, batch.second)):
            predicted = after_change(batch.now, network.unfolding(*read, after_s)[0])
            errors.append(self._joints(predicted, batch.size) - self._joints(true, batch.size))
            entries.append((predicted.entries - true.entries).abs().mean())
        world = torch.stack([_lengths(each) for each in errors]).mean()
        pose = torch.stack([_lengths(each - each[:, :1]) for each in errors]).mean()
        velocity = _lengths((errors[1] - errors[0]) / batch.step_s[:, None]).mean()
        loss = world + _POSE_WEIGHT * pose + _VELOCITY_WEIGHT * velocity + _ENTRY_WEIGHT * sum(entries)
        return loss, {"world_mm": 1e3 * world, "pose_mm": 1e3 * pose, "velocity": velocity}

    def evaluate(self, network: MotionNetwork) -> dict[str, float]:
        """Distance of joints in the world, millimetres, between 60 ms and one label more after labels with noise."""
        scores = {}
        for rate, perceived in product(_SCORED_RATES, (0.0, 1.0)):
            generator = torch.Generator().manual_seed(rate)
            after_s = _LAG_S + torch.rand(_SCORED, generator=generator) / rate
            real = torch.full((_SCORED,), perceived)
            wanted = Wanted(torch.full((_SCORED,), rate), 1 - real, torch.zeros(_SCORED), after_s, real, varied=False)
            one = samples(self._val, self._val_errors, wanted, generator).to(self.device)
            predicted = after_change(one.now, network(one.tokens, one.newest, one.counts, one.after_s))
            for name, poses in (("held", one.now), ("predicted", predicted)):
                error = self._joints(poses, one.size) - self._joints(one.first, one.size)
                scores[f"{name}{'_perceived' if perceived else ''}_{rate}_mm"] = 1e3 * float(_lengths(error).mean())
        return scores


def _lengths(vectors: Tensor) -> Tensor:
    """Of vectors along the last axis, with a gradient at 0."""
    return (vectors.square().sum(-1) + 1e-8).sqrt()


if __name__ == "__main__":
    raise SystemExit(main(MotionTraining))
