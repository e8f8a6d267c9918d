"""Trains the motion network: what somebody does next, from labels with errors like a sender's.

A quarter of the labels are those of rendered clips as they are received; to a quarter the errors of such clips are
added (`receiver.train.motion_errors`), to the others invented ones.  They come at 1 to 30 a second, as coarse and as
far ahead of their capture as over a link that carries so many.  The loss is the distance of the joints up to 0.6 s
after the newest labels, and that of their velocities, from the truth with the errors that labels will then have:
those that last cannot be told, and whoever tries to slows all movements down.
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
from common.motion.network import KIND, WEIGHTS_NAME, MotionConfig, MotionNetwork, after_change
from common.synthetic.motion.windows import open_windows
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from receiver.train.motion_errors import Errors, received_labels
from receiver.train.motion_samples import FPS, MOST_AFTER_S, Clips, Joints, Samples, Wanted, samples

# Labels a second at most.  A sender predicts from as many as its camera has, for this share of the samples and so far.
_FASTEST, _SENDERS, _SENDER_S = 30.0, 0.25, 0.4
# So rare labels may be ahead of their capture, by a share of the time between them, and at most so far.
_RARE, _AHEAD_SHARE, _MOST_AHEAD_S = 6.0, 0.43, 0.375
# What labels at the highest rate are at most, with 1 for the codec's coarsest steps.
_COARSE_IF_FAST = 0.4
# Shares of labels that are as received, and to which errors of received ones are added; the others have noise.
_RECEIVED, _PERCEIVED = 0.25, 0.25
_MOST_NOISE = 1.5
_VELOCITY_WEIGHT, _POSE_WEIGHT, _ENTRY_WEIGHT = 0.02, 0.5, 0.02
# What the scores are of: the delay of a link, labels a second, moments.
_LAG_S, _SCORED_RATES, _SCORED = 0.06, (30, 10, 5, 3, 2, 1), 3000


class MotionTraining(Recipe[MotionNetwork, Samples]):
    """The joints at the time of display."""

    name = WEIGHTS_NAME
    kind = KIND
    defaults = Defaults(60.0, batch=384, rate=1.5e-3, weight_decay=1e-2, evaluate_minutes=20.0, log_every=100)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--windows", type=Path, required=True, help="folder of common.synthetic.motion.windows, 60 frames a second")
        add("--perceived", type=Path, required=True, help="folder of sender.train.perceived_motion: train.npz, val.npz")

    def prepare(self) -> MotionNetwork:
        windows, space = open_windows(self.options.windows, FPS), LabelSpace.load()
        (received, true), (val, _) = (received_labels(self.options.perceived / f"{s}.npz") for s in ("train", "val"))
        self._train, self._val = Clips(windows, "train", space, received), Clips(windows, "val", space, val)
        self._errors = Errors.of(received, true)
        self._joints = Joints().to(self.device)
        perceived = len(self._errors)
        self.facts = {"frames": len(self._train.usable), "perceived": perceived, "shipped": self.options.shipped}
        return self.or_shipped(MotionNetwork(MotionConfig()))

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Samples]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        while True:
            noise, stays, share, kind, rare, coarse, whose, ahead = torch.rand(8, count, generator=generator)
            sender = whose < _SENDERS
            rate = torch.where(sender, _FASTEST, _FASTEST**rare)
            received, noisy = kind < _RECEIVED, kind >= _RECEIVED + _PERCEIVED
            perceived = (~received & ~noisy).float()
            noise = _MOST_NOISE * noise.square() * noisy
            coarse = torch.where(sender, 0.0, coarse * (1 - (1 - _COARSE_IF_FAST) * rare))
            ahead = (rate < _RARE) * (ahead < 0.5) * (_AHEAD_SHARE / rate).clamp(max=_MOST_AHEAD_S)
            reach = (_LAG_S + 1.5 / rate + 0.1 - ahead).clamp(max=MOST_AFTER_S)
            after = share * torch.where(sender, _SENDER_S, reach)
            yield samples(
                self._train,
                self._errors,
                Wanted(rate, noise, stays, after, perceived, received, coarse, ahead, varied=True),
                generator,
            )

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
        """Distance of joints in the world, mm, 60 ms to one label more after labels with noise, or as received."""
        scores = {}
        for rate, received in product(_SCORED_RATES, (False, True)):
            generator = torch.Generator().manual_seed(rate)
            after_s = (_LAG_S + torch.rand(_SCORED, generator=generator) / rate).clamp(max=MOST_AFTER_S)
            real, rates, none = torch.full((_SCORED,), received), torch.full((_SCORED,), rate), torch.zeros(_SCORED)
            wanted = Wanted(rates, (~real).float(), none, after_s, none, real, none, none, varied=False)
            one = samples(self._val, self._errors, wanted, generator).to(self.device)
            predicted = after_change(one.now, network(one.tokens, one.newest, one.counts, one.after_s))
            for name, poses in (("held", one.now), ("predicted", predicted)):
                error = self._joints(poses, one.size) - self._joints(one.first, one.size)
                scores[f"{name}{'_received' if received else ''}_{rate}_mm"] = 1e3 * float(_lengths(error).mean())
        return scores


def _lengths(vectors: Tensor) -> Tensor:
    """Of vectors along the last axis, with a gradient at 0."""
    return (vectors.square().sum(-1) + 1e-8).sqrt()


if __name__ == "__main__":
    raise SystemExit(main(MotionTraining))
