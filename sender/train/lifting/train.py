"""Trains the network that lifts 2D over time (`sender.semantics.lifting`).

Windows are of rendered clips, and of imagined ones (`sender.train.lifting.recorded`).

Examples:
  python -m sender.train.lifting.train --windows windows30 --clips clips --minutes 70 --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as count_from
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.synthetic.dataset import Split
from common.synthetic.motion.windows import open_windows
from common.training.recipe import Defaults, Recipe, Stateful
from common.training.run import main, on_device
from common.weights.transformer import Attention
from sender.semantics.bodies import ENTRIES
from sender.semantics.lifting_network import (
    KIND,
    NAME,
    Gaussian,
    Lifted,
    LiftingConfig,
    LiftingNetwork,
    attention_mask,
    smoothed_entries,
)
from sender.train.lifting.motions import Motions
from sender.train.lifting.objective import (
    Bodies,
    MotionDiscriminator,
    Posterior,
    Weights,
    Windows,
    discriminator_loss,
    drawn,
    generator_loss,
    geometry,
    likelihood,
    masked_mean,
    scores,
    shares,
    total,
)
from sender.train.lifting.recorded import RecordedClips, imagined

_FRAMES = (1, 4, 8, 16, 24, 32)
"""Lengths of windows, …"""
_SHARES = (0.04, 0.06, 0.12, 0.43, 0.15, 0.2)
"""… and of the batches that have them."""
_MOST_WINDOWS = 128
_CAUSAL, _OF_CLIPS = 0.6, 0.4
# Clips that are imagined at once, and the batches until others are; those that validate.
_IMAGINED, _IMAGINED_EVERY, _JUDGED = 400, 600, 48
_SPLITS: tuple[Split, Split] = ("train", "val")
# Share of the training in which β rises, and nats of each frame's latent that cost nothing.
_WARM, _FREE_NATS = 0.15, 2.0
# Steps from one of the discriminator to the next, and the frames that it needs.
_EVERY, _LEAST_FRAMES = 2, 16


class LiftingTraining(Recipe[LiftingNetwork, Windows]):
    """The terms of `sender.train.lifting.objective`, in turn with the discriminator."""

    name = NAME
    kind = KIND
    defaults = Defaults(70.0, batch=24, rate=5e-4, average_decay=0.999, evaluate_minutes=4.0, weight_decay=0.05)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--windows", type=Path, required=True, help="folder of windows of motion")
        parser.add_argument("--clips", type=Path, required=True, help="folder of rendered clips, train and val in it")

    def prepare(self) -> LiftingNetwork:
        windows, folder = open_windows(self.options.windows), self.options.clips
        self._motions = {split: Motions(windows, split) for split in _SPLITS}
        self._clips = {split: RecordedClips.read(folder / split) for split in _SPLITS}
        network = self.or_shipped(LiftingNetwork(LiftingConfig()))
        self._weights, self._bodies = Weights(), Bodies(self._motions["train"].kinematics).to(self.device)
        self._posterior = Posterior(network.config).to(self.device)
        for module in (*network.modules(), *self._posterior.modules()):
            if isinstance(module, Attention):
                # Without fusion, bf16 on a CPU is several times faster in both directions.
                vars(module)["fused_attn"] = self.device.type != "cpu"
        self._judge = MotionDiscriminator().to(self.device)
        self._adversary = torch.optim.AdamW(self._judge.parameters(), lr=2e-4, betas=(0.5, 0.99))
        self._steps = 0
        return network

    def parts(self) -> Mapping[str, Stateful]:
        return {
            "posterior": self._posterior,
            "discriminator": self._judge,
            "discriminator_optimiser": self._adversary,
        }

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Windows]:
        """Of `count` windows of 32 frames, or as many frames in shorter ones."""
        for number in count_from(0):
            if number % _IMAGINED_EVERY == 0:
                others = imagined(_IMAGINED, self._motions["train"], self._clips["train"], rng)
            frames = int(rng.choice(_FRAMES, p=_SHARES))
            windows = min(count * _FRAMES[-1] // frames, _MOST_WINDOWS)
            causal = rng.random() < _CAUSAL
            yield drawn(
                self._clips["train"] if rng.random() < _OF_CLIPS else others, windows, frames, rng, causal=causal
            )

    def optimisers(self, network: LiftingNetwork) -> Sequence[torch.optim.Optimizer]:
        weights = [*network.parameters(), *self._posterior.parameters()]
        decay = self.defaults.weight_decay
        return [torch.optim.AdamW(weights, lr=self.options.rate, weight_decay=decay, betas=(0.9, 0.98), fused=True)]

    def step(self, network: LiftingNetwork, batch: Windows) -> tuple[Tensor, Mapping[str, Tensor]]:
        self._posterior.zero_grad()
        mask = attention_mask(torch.ones_like(batch.seen), causal=batch.causal)
        used, weights = shares(batch), self._weights
        with self.autocast():
            context = network.context(batch.tokens, batch.lags, mask)
        context = context.float()
        prior, smoothed = network.prior(context), smoothed_entries(batch.tokens)
        terms = self._variational(network, batch, context, smoothed, prior)
        entries, _ = network.decode(context, smoothed, prior.mean)
        lifted = Lifted(entries, network.sigma(context))
        eased = likelihood(batch.entries, lifted.entries, lifted.sigma, 0.5)
        terms["mean"] = weights.mean * masked_mean(eased, used)
        terms |= geometry(batch, lifted, self._bodies, weights)
        return total(terms), terms

    def _variational(
        self, network: LiftingNetwork, batch: Windows, context: Tensor, smoothed: Tensor, prior: Gaussian
    ) -> dict[str, Tensor]:
        """The terms of posterior and adversary."""
        used, weights = shares(batch), self._weights
        posterior = self._posterior(context, batch.entries, attention_mask(torch.ones_like(batch.seen)))
        decoded = network.decode(context, smoothed, posterior.sample())
        nats = (posterior.kl_to(prior) - _FREE_NATS).clamp_min(0)
        beta = weights.beta_kl * min(1.0, self.share / _WARM + 0.02)
        terms = {
            "posterior": weights.posterior * masked_mean(likelihood(batch.entries, *decoded), used),
            "kl": weights.posterior * beta / (ENTRIES * batch.tokens.shape[1]) * masked_mean(nats, used),
        }
        self._steps += 1
        frames = batch.tokens.shape[1]
        if frames < _LEAST_FRAMES or self._steps % _EVERY:
            return terms
        # One draw for a window, as z lasts.
        noise = torch.randn(len(context), 1, prior.mean.shape[2], device=self.device)
        fake, _ = network.decode(context, smoothed, prior.mean + (0.5 * prior.log_variance).exp() * noise)
        self._adversary.zero_grad()
        discriminator_loss(self._judge(batch.entries), self._judge(fake.detach())).backward()
        self._adversary.step()
        self._judge.requires_grad_(False)
        terms["adversary"] = weights.gamma_adversary * generator_loss(self._judge(fake))
        self._judge.requires_grad_(True)
        return terms

    def evaluate(self, network: LiftingNetwork) -> dict[str, float]:
        """Scores of windows of motions, and of clips, of the validation split (`sender.train.lifting.objective`)."""
        rng, clips = np.random.default_rng(1), self._clips["val"]
        others = imagined(_JUDGED, self._motions["val"], clips, rng)
        of_others, of_clips = (self._scores(network, each, rng) for each in (others, clips))
        return of_others | {f"clips_{name}": value for name, value in of_clips.items()}

    def _scores(self, network: LiftingNetwork, clips: RecordedClips, rng: np.random.Generator) -> dict[str, float]:
        batches = [drawn(clips, 32, 32, rng, causal=True, fps=30.0) for _ in range(4)]
        return scores(network, [on_device(batch, self.device) for batch in batches], self._bodies, self._posterior)


if __name__ == "__main__":
    raise SystemExit(main(LiftingTraining))
