"""Trains the network that lifts 2D over time (`sender.semantics.lifting_network`).

Windows are of rendered clips, and of imagined ones (`sender.train.lifting.recorded`).  What is minimised is L_com of
(11) over windows, and what is geometry:

    posterior  −log N(y; μ(c, z), σ(c, z)) for z ~ q(z|X,y), and KL(q ‖ p), the evidence's lower bound for each entry
    mean       at z = m(c), which is what runs: likelihood of y with the whole σ, keypoints in space and in the picture,
               and how these change from frame to frame
    adversary  of windows decoded from z ~ p(z|X), in turn with the discriminator

Posterior and discriminator are of the training alone.  Frames count in the scores once the window before them has
`_BEGIN` frames.

Shapes: B windows, T frames, E = 80 entries, K = 17 keypoints, C width, Z latent, F columns of a token.

Examples:
  python -m sender.train.lifting.train --windows windows30 --clips clips --minutes 70 --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count as count_from
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from common.labels import group_slices
from common.synthetic.dataset import Split
from common.synthetic.motion.windows import open_windows
from common.training.recipe import Defaults, Recipe, Stateful
from common.training.run import main, on_device
from common.weights.transformer import Attention, Block
from sender.semantics.bodies import ENTRIES, PELVIS, KeypointJacobian, entries_of_pelvis, pelvis_in_crop
from sender.semantics.lifting_network import (
    FITTED,
    KIND,
    NAME,
    Gaussian,
    Lifted,
    LiftingConfig,
    LiftingNetwork,
    ResidualMLP,
    WindowCamera,
    attention_mask,
    lags_of,
    mean_crop,
    smoothed_entries,
    tokens,
)
from sender.train.crops import procrustes
from sender.train.lifting.motions import Motions
from sender.train.lifting.recorded import RecordedClips, imagined, observed

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
# λ of the terms; that of the divergence is β, that of the adversary γ in (11).
_WEIGHTS = {
    "mean": 1.0, "posterior": 0.5, "kl": 0.5, "adversary": 0.02,
    "keypoints": 10.0, "places": 15.0, "in_space": 2.0, "steps": 15.0, "turns": 16.0, "feet": 8.0,
}  # fmt: skip
_SHAPE, _ANKLES, _HIPS = group_slices()["shape"], slice(15, 17), slice(11, 13)
_LEAST_DEPTH_M = 0.2
# Frames beyond are of people far out of the window's crop, who teach nothing.
_FARTHEST_ENTRY = 12.0
# Weight of frames in which nobody was found.
_HIDDEN = 0.3
# Of the scores: frames that do not count, and draws of z.
_BEGIN, _SAMPLES = 8, 5


@dataclass(frozen=True, slots=True)
class Windows:
    """What the network is fed, and the truth in the window camera.

    Args:
        tokens: (B, T, F).
        causal: whether frames do not see later ones.
        lags: (B, T, T) by how much each frame (last axis) is later than another, seconds.
        focal: (B,) of the window camera, in widths of its crop.
        entries: (B, T, E).
        keypoints: (B, T, K, 3) from the pelvis, metres.
        places, inside: (B, T, K, 2) of the keypoints in the window's crop, 0…1, and (B, T, K) whether in the picture.
        contacts: (B, T, 4).
        seen: (B, T) whether the person was found.
        still: (B,) whether the camera stands still.
    """

    tokens: Tensor
    causal: bool
    lags: Tensor
    focal: Tensor
    entries: Tensor
    keypoints: Tensor
    places: Tensor
    inside: Tensor
    contacts: Tensor
    seen: Tensor
    still: Tensor


class Posterior(nn.Module):
    """q(z|X,y) (8) of a window, from the contexts and labels of its frames."""

    def __init__(self, config: LiftingConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(ENTRIES + config.width, config.width)
        self.block = Block(config.width, config.heads)
        self.leave = ResidualMLP(config.width, 2 * config.latent, config.width, blocks=1)

    def forward(self, context: Tensor, entries: Tensor, mask: Tensor) -> Gaussian:
        """(B, 1, Z) of contexts (B, T, C) and true entries (B, T, E); `mask` (B, 1, T, T)."""
        labels = entries.clamp(-5, 5)
        frames = self.block(self.enter(torch.cat([context, labels], -1)), mask)
        return Gaussian.of(self.leave(frames.mean(1, keepdim=True)).float())


class MotionDiscriminator(nn.Module):
    """D of (10) for windows: logits (B, N) that entries (B, T, E) and their changes are a real motion's."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        widths = (2 * ENTRIES, hidden, hidden, hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [spectral_norm(nn.Conv1d(before, after, 3, stride=1 + (before == hidden))), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv1d(hidden, 1, 1)))

    def forward(self, entries: Tensor) -> Tensor:
        entries = entries.clamp(-5, 5)
        moved = torch.cat([entries[:, 1:], 3 * entries.diff(dim=1)], -1)
        logits: Tensor = self.layers(moved.transpose(1, 2))[:, 0]
        return logits


class LiftingTraining(Recipe[LiftingNetwork, Windows]):
    """The terms of the loss, in turn with the discriminator."""

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
        self._bodies = in_tensors(self._motions["train"].kinematics, self.device)
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
            clips = self._clips["train"] if rng.random() < _OF_CLIPS else others
            yield drawn(clips, windows, frames, rng, causal=causal)

    def optimisers(self, network: LiftingNetwork) -> Sequence[torch.optim.Optimizer]:
        weights = [*network.parameters(), *self._posterior.parameters()]
        decay = self.defaults.weight_decay
        return [torch.optim.AdamW(weights, lr=self.options.rate, weight_decay=decay, betas=(0.9, 0.98), fused=True)]

    def step(self, network: LiftingNetwork, batch: Windows) -> tuple[Tensor, Mapping[str, Tensor]]:
        self._posterior.zero_grad()
        mask = attention_mask(torch.ones_like(batch.seen), causal=batch.causal)
        used = shares(batch)
        with self.autocast():
            context = network.context(batch.tokens, batch.lags, mask)
        context = context.float()
        prior, smoothed = network.prior(context), smoothed_entries(batch.tokens)
        terms = self._variational(network, batch, context, smoothed, prior)
        entries, _ = network.decode(context, smoothed, prior.mean)
        lifted = Lifted(entries, network.sigma(context))
        eased = likelihood(batch.entries, lifted.entries, lifted.sigma, 0.5)
        terms |= {"mean": masked_mean(eased, used)} | geometry(batch, lifted, self._bodies)
        terms = {name: _WEIGHTS[name] * term for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum(), terms

    def _variational(
        self, network: LiftingNetwork, batch: Windows, context: Tensor, smoothed: Tensor, prior: Gaussian
    ) -> dict[str, Tensor]:
        """The terms of posterior and adversary."""
        used = shares(batch)
        posterior = self._posterior(context, batch.entries, attention_mask(torch.ones_like(batch.seen)))
        decoded = network.decode(context, smoothed, posterior.sample())
        nats = (posterior.kl_to(prior) - _FREE_NATS).clamp_min(0)
        beta = min(1.0, self.share / _WARM + 0.02) / (ENTRIES * batch.tokens.shape[1])
        terms = {
            "posterior": masked_mean(likelihood(batch.entries, *decoded), used),
            "kl": beta * masked_mean(nats, used),
        }
        self._steps += 1
        frames = batch.tokens.shape[1]
        if frames < _LEAST_FRAMES or self._steps % _EVERY:
            return terms
        # One draw for a window, as z lasts.
        noise = torch.randn(len(context), 1, prior.mean.shape[2], device=self.device)
        fake, _ = network.decode(context, smoothed, prior.mean + (0.5 * prior.log_variance).exp() * noise)
        self._adversary.zero_grad()
        # −log D(real) − log(1 − D(fake)), and below the non-saturating −log D(fake).
        (F.softplus(-self._judge(batch.entries)) + F.softplus(self._judge(fake.detach()))).mean().backward()
        self._adversary.step()
        self._judge.requires_grad_(False)
        terms["adversary"] = F.softplus(-self._judge(fake)).mean()
        self._judge.requires_grad_(True)
        return terms

    def evaluate(self, network: LiftingNetwork) -> dict[str, float]:
        """Scores of windows of motions, and of clips, of the validation split."""
        rng, clips, found = np.random.default_rng(1), self._clips["val"], dict[str, float]()
        for name, each in (("", imagined(_JUDGED, self._motions["val"], clips, rng)), ("clips_", clips)):
            batches = [on_device(drawn(each, 32, 32, rng, causal=True, varied=False), self.device) for _ in range(4)]
            parts = [scores(network, batch, self._bodies, self._posterior) for batch in batches]
            found |= {f"{name}{score}": torch.cat([part[score] for part in parts]).mean().item() for score in parts[0]}
        return found


def drawn(
    clips: RecordedClips, count: int, frames: int, rng: np.random.Generator, *, causal: bool, varied: bool = True
) -> Windows:
    """`count` windows of as many frames of clips, with what was seen of them.

    Where the assumed focal length is wrong, the person's turn and distance are those that the crop shows, and the
    keypoints' places those where the assumed camera has the pixels.

    Args:
        causal: whether frames do not see later ones.
        varied: rate and errors are random; else, to judge by, all is as it was seen.
    """
    chosen = clips.windows(count, frames, rng, varied=varied)
    moving, (seen, assumed) = chosen.moving, observed(chosen, rng, causal=causal, varied=varied)
    counted, number, ratio = seen.seen, np.arange(frames), assumed / moving.focal
    if varied:
        # The mean crop, which is the window camera's, is of some that are seen and follow each other.
        first, last = np.sort(rng.integers(frames, size=(2, count, 1)), 0)
        some = counted & (number >= first) & (number <= last)
        counted = np.where(some.any(1, keepdims=True), some, counted)
    centre, side = mean_crop(seen, counted)
    camera, true = WindowCamera.through(centre, side), WindowCamera.through(centre * ratio[:, None], side * ratio)
    every, focal = WindowCamera(true.rotation.repeat(frames, 0), true.focal.repeat(frames)), camera.focal.repeat(frames)
    root = every.entries_of(moving.turn.reshape(-1, 3, 3), moving.pelvis.reshape(-1, 3))
    # Where the pixel of the pelvis is, at the distance that the crop shows.
    pixel = moving.pelvis[..., :2] / np.maximum(moving.pelvis[..., 2:], 0.05) / ratio[:, None, None]
    shown = pelvis_in_crop(root, focal[:, None])
    place = camera.places(np.asarray(pixel, np.float32)).reshape(-1, 2)
    shown[:, :2] = (place - 0.5) / focal[:, None] * shown[:, 2:]
    root[:, PELVIS] = entries_of_pelvis(shown, focal[:, None])
    places = camera.places((moving.places / assumed[:, None, None, None]).reshape(count, -1, 2))
    arrays = {
        "tokens": tokens(seen, camera, side),
        "focal": camera.focal,
        "entries": np.concatenate([root.reshape(count, frames, -1), moving.body], -1).astype(np.float32),
        "keypoints": moving.keypoints @ true.rotation[:, None],
        "places": places.reshape(moving.places.shape),
        "inside": moving.inside,
        "contacts": moving.contacts.astype(np.float32),
        "seen": seen.seen,
        "still": moving.still,
    }
    tensors = {name: torch.from_numpy(each) for name, each in arrays.items()}
    return Windows(causal=causal, lags=lags_of(torch.from_numpy(moving.time_s)), **tensors)


def keypoints_of(bodies: KeypointJacobian, entries: Tensor) -> Tensor:
    """(…, K, 3) from the pelvis, metres, of entries (…, E); the shape gets no gradient: where the pose is uncertain,
    joints are nearer to the true ones the smaller the body is."""
    held = torch.cat([entries[..., : _SHAPE.start], entries[..., _SHAPE].detach(), entries[..., _SHAPE.stop :]], -1)
    keypoints: Tensor = bodies.keypoints(held.reshape(-1, ENTRIES))
    return keypoints.reshape(*entries.shape[:-1], -1, 3)


def in_tensors(bodies: KeypointJacobian, device: torch.device) -> KeypointJacobian:
    """The same on a device."""
    arrays = (getattr(bodies, item.name) for item in fields(bodies))
    return KeypointJacobian(*(torch.from_numpy(each).to(device) for each in arrays))


def geometry(batch: Windows, lifted: Lifted, bodies: KeypointJacobian) -> dict[str, Tensor]:
    """Terms of the mean's body, of which each is a mean over what is usable."""
    used = shares(batch)
    keypoints, pelvis = keypoints_of(bodies, lifted.entries), pelvises(lifted.entries, batch.focal)
    true_pelvis = pelvises(batch.entries, batch.focal)
    wrong = keypoints - batch.keypoints
    apart = projected(keypoints, pelvis, batch.focal) - batch.places
    visible = batch.inside * used[..., None]
    # Relative to the distance, which is uncertain in proportion.
    moved = (pelvis - true_pelvis) / true_pelvis[..., 2:].clamp_min(_LEAST_DEPTH_M)
    stands = batch.contacts.unflatten(-1, (2, 2)).amax(-1) * batch.still[:, None, None]
    planted = stands[:, 1:] * stands[:, :-1]
    feet = (wrong[..., _ANKLES, :] + (pelvis - true_pelvis)[..., None, :]).diff(dim=1).abs().sum(-1)
    both, three = used[:, 1:] * used[:, :-1], used[:, 2:] * used[:, 1:-1] * used[:, :-2]
    return {
        "keypoints": masked_mean(_length(wrong).mean(-1), used),
        "places": masked_mean(_length(apart).clamp_max(1.0), visible),
        "in_space": masked_mean(moved.abs().sum(-1).clamp_max(2.0), used),
        "steps": masked_mean(_length(wrong.diff(dim=1)).mean(-1), both),
        "turns": masked_mean(_length(wrong.diff(n=2, dim=1)).mean(-1), three),
        "feet": masked_mean(feet.clamp_max(0.5), planted * both[..., None]),
    }


def usable(batch: Windows) -> Tensor:
    """(B, T) whether a frame's person is not far out of the window's crop."""
    return batch.entries[..., PELVIS].abs().amax(-1) < _FARTHEST_ENTRY


def shares(batch: Windows) -> Tensor:
    """(B, T) weights of frames."""
    return usable(batch) * torch.where(batch.seen, 1.0, _HIDDEN)


def likelihood(entries: Tensor, mean: Tensor, sigma: Tensor, eased: float = 0.0) -> Tensor:
    """(…,) the mean over entries of −log N(y; μ, σ) without its constant, nats.

    Args:
        eased: power of σ, without a gradient, that each entry's is multiplied by.
    """
    loss = 0.5 * ((entries - mean) / sigma).square() + sigma.log()
    return (loss * sigma.detach() ** eased).mean(-1) if eased else loss.mean(-1)


def projected(keypoints: Tensor, pelvis: Tensor, focal: Tensor) -> Tensor:
    """(B, T, K, 2) crop units, of keypoints (B, T, K, 3) from pelvises (B, T, 3); `focal` (B,) crop widths."""
    points = keypoints + pelvis[..., None, :]
    return 0.5 + focal[:, None, None, None] * points[..., :2] / points[..., 2:].clamp_min(_LEAST_DEPTH_M)


def pelvises(entries: Tensor, focal: Tensor) -> Tensor:
    """(B, T, 3) of entries (B, T, E), in window cameras of `focal` (B,) crop widths."""
    each = focal[:, None].expand(entries.shape[:2]).reshape(-1, 1)
    pelvis: Tensor = pelvis_in_crop(entries.reshape(-1, ENTRIES), each)
    return pelvis.reshape(*entries.shape[:2], 3)


def masked_mean(values: Tensor, used: Tensor) -> Tensor:
    """Over what is used (as `values`, 0 or 1); 0 of nothing."""
    return (values * used).sum() / used.sum().clamp_min(1.0)


def _length(vectors: Tensor) -> Tensor:
    """(…,) lengths of vectors (…, D), smooth at zero."""
    return (vectors.square().sum(-1) + 1e-8).sqrt()


def scores(
    network: LiftingNetwork, batch: Windows, bodies: KeypointJacobian, posterior: Posterior
) -> dict[str, Tensor]:
    """Of the frames that count in windows of at least 11 at an even rate, causal.

    Returns:
        `mpjpe_mm` of the mean, and `pa_mm` after the best similarity; those of what was fitted and smoothed, and of
        frames alone in their windows; `acceleration_mm` a frame²; `nll` of an entry in nats, `nll_with_z` its upper
        bound −log N(y; μ(z), σ(z)) + KL(q ‖ p) at one z ~ q(z|X,y); `best_mm` of five samples.
    """
    every, true = torch.ones_like(batch.seen), batch.keypoints
    used = usable(batch) & batch.seen & (torch.arange(every.shape[1], device=every.device) >= _BEGIN)
    mask = attention_mask(every, causal=True)
    context, lifted = network.context(batch.tokens, batch.lags, mask), network(batch.tokens, batch.lags, mask)
    prior, q = network.prior(context), posterior(context, batch.entries, attention_mask(every))
    smoothed, fitted = smoothed_entries(batch.tokens), batch.tokens[..., FITTED]
    alone = batch.tokens.flatten(0, 1)[:, None]
    one = network(alone, torch.zeros_like(alone[..., :1]), attention_mask(every.reshape(-1, 1)))
    found = {"mpjpe": lifted.entries, "fitted": fitted, "smoothed": smoothed, "one": one.entries.view_as(fitted)}
    keypoints = {name: keypoints_of(bodies, entries) for name, entries in found.items()}
    aligned = {"pa": keypoints["mpjpe"][used], "fitted_pa": keypoints["fitted"][used]}
    draws = [keypoints_of(bodies, network.decode(context, smoothed, prior.sample())[0]) for _ in range(_SAMPLES)]
    bound = likelihood(batch.entries, *network.decode(context, smoothed, q.sample())) + q.kl_to(prior) / ENTRIES
    changes = (keypoints["mpjpe"] - true).diff(n=2, dim=1).norm(dim=-1).mean(-1)
    return {
        **{f"{name}_mm": _apart_mm(each, true)[used] for name, each in keypoints.items()},
        **{
            f"{name}_mm": 1000 * (procrustes(each, true[used]) - true[used]).norm(dim=-1)
            for name, each in aligned.items()
        },
        "acceleration_mm": 1000 * changes[used[:, 2:] & used[:, 1:-1] & used[:, :-2]],
        "nll": likelihood(batch.entries, lifted.entries, lifted.sigma)[used],
        "nll_with_z": bound[used],
        "best_mm": torch.stack([_apart_mm(each, true) for each in draws]).amin(0)[used],
    }


def _apart_mm(keypoints: Tensor, true: Tensor) -> Tensor:
    """(…,) mean distance of keypoints (…, K, 3), millimetres, when both are moved to their hips' middle."""
    wrong = keypoints - true
    apart: Tensor = (wrong - wrong[..., _HIPS, :].mean(-2, keepdim=True)).norm(dim=-1).mean(-1)
    return 1000 * apart


if __name__ == "__main__":
    raise SystemExit(main(LiftingTraining))
