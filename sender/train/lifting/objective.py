"""What the training of the lifting network minimises: L_com of (11) over windows, and what is geometry.

    posterior  −log N(y; μ(c, z), σ(c, z)) for z ~ q(z|X,y), and KL(q ‖ p), the evidence's lower bound for each entry
    mean       at z = m(c), which is what runs: likelihood of y with the whole σ, keypoints in space and in the picture,
               and how these change from frame to frame
    adversary  of windows decoded from z ~ p(z|X)

The network that runs is `sender.semantics.lifting.network`; posterior and discriminator are of the training alone.

Shapes: B windows, T frames, E = 80 entries, K = 17 keypoints, C width, Z latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from common.labels import group_slices
from common.weights.transformer import Block
from sender.semantics.crop_labels import ENTRIES, PELVIS, pelvis_in_crop
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.lifting.layers import Gaussian, ResidualMLP
from sender.semantics.lifting.network import Lifted, LiftingConfig
from sender.train.lifting.samples import Windows

_SHAPE = group_slices()["shape"]
_ANKLES = slice(15, 17)
_LEAST_DEPTH_M = 0.2
# Frames beyond are of people far out of the window's crop, who teach nothing.
_FARTHEST_ENTRY = 12.0
# Weight of frames in which nobody was found.
_HIDDEN = 0.3


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


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−log D(real) − log(1 − D(fake)) from logits (B,)."""
    return (F.softplus(-real) + F.softplus(fake)).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """−log D(fake), the non-saturating form."""
    return F.softplus(-fake).mean()


@dataclass(frozen=True, slots=True)
class Weights:
    """λ of each term; β and γ are the paper's names in (11)."""

    mean: float = 1.0
    posterior: float = 0.5
    beta_kl: float = 1.0
    keypoints: float = 10.0
    places: float = 15.0
    steps: float = 15.0
    turns: float = 16.0
    in_space: float = 2.0
    feet: float = 8.0
    gamma_adversary: float = 0.02


class Bodies(nn.Module):
    """Keypoints of entries, as `KeypointJacobian` in tensors on the device of the training."""

    def __init__(self, kinematics: KeypointJacobian) -> None:
        super().__init__()
        self._names = [item.name for item in fields(kinematics)]
        for name in self._names:
            self.register_buffer(name, torch.from_numpy(getattr(kinematics, name)), persistent=False)

    @property
    def kinematics(self) -> KeypointJacobian:
        return KeypointJacobian(*(getattr(self, name) for name in self._names))

    def forward(self, entries: Tensor) -> Tensor:
        """(…, K, 3) from the pelvis, metres, of entries (…, E); the shape gets no gradient: where the pose is
        uncertain, joints are nearer to the true ones the smaller the body is."""
        held = torch.cat([entries[..., : _SHAPE.start], entries[..., _SHAPE].detach(), entries[..., _SHAPE.stop :]], -1)
        keypoints: Tensor = self.kinematics.keypoints(held.reshape(-1, ENTRIES))
        return keypoints.reshape(*entries.shape[:-1], -1, 3)


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


def geometry(batch: Windows, lifted: Lifted, bodies: Bodies, weights: Weights) -> dict[str, Tensor]:
    """Terms of the mean's body, of which each is a mean over what is usable; weighted."""
    used = shares(batch)
    keypoints, pelvis = bodies(lifted.entries), pelvises(lifted.entries, batch.focal)
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
        "keypoints": weights.keypoints * _mean(_length(wrong).mean(-1), used),
        "places": weights.places * _mean(_length(apart).clamp_max(1.0), visible),
        "in_space": weights.in_space * _mean(moved.abs().sum(-1).clamp_max(2.0), used),
        "steps": weights.steps * _mean(_length(wrong.diff(dim=1)).mean(-1), both),
        "turns": weights.turns * _mean(_length(wrong.diff(n=2, dim=1)).mean(-1), three),
        "feet": weights.feet * _mean(feet.clamp_max(0.5), planted * both[..., None]),
    }


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def masked_mean(values: Tensor, used: Tensor) -> Tensor:
    """Over what is used (as `values`, 0 or 1); 0 of nothing."""
    return (values * used).sum() / used.sum().clamp_min(1.0)


_mean = masked_mean


def _length(vectors: Tensor) -> Tensor:
    """(…,) lengths of vectors (…, D), smooth at zero."""
    return (vectors.square().sum(-1) + 1e-8).sqrt()
