"""What the lifting network learns: windows with the truth, the loss, and scores.

Shapes: B windows, T frames, K = 17 keypoints, E = 80 entries, F columns of a token.

What the training of the lifting network minimises: L_com of (11) over windows, and what is geometry.

    posterior  −log N(y; μ(c, z), σ(c, z)) for z ~ q(z|X,y), and KL(q ‖ p), the evidence's lower bound for each entry
    mean       at z = m(c), which is what runs: likelihood of y with the whole σ, keypoints in space and in the picture,
               and how these change from frame to frame
    adversary  of windows decoded from z ~ p(z|X)

The network that runs is `sender.semantics.lifting_network`; posterior and discriminator are of the training alone.

Shapes: B windows, T frames, E = 80 entries, K = 17 keypoints, C width, Z latent.

Scores of the lifting network on windows whose truth is known.

Frames count once the window before them has `_BEGIN` frames.  `one` is a window of one frame, `fitted` what was fitted
to each frame, `smoothed` these over time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from common.arrays import BoolArray, FloatArray
from common.labels import group_slices
from common.weights.transformer import Block
from sender.semantics.bodies import ENTRIES, PELVIS, KeypointJacobian, entries_of_pelvis, pelvis_in_crop
from sender.semantics.lifting_network import (
    FITTED,
    Gaussian,
    Lifted,
    LiftingConfig,
    LiftingNetwork,
    Observations,
    ResidualMLP,
    WindowCamera,
    attention_mask,
    lags_of,
    mean_crop,
    smoothed_entries,
    tokens,
)
from sender.train.crops import procrustes
from sender.train.lifting.motions import Moving
from sender.train.lifting.recorded import RecordedClips, assumed_focal, lessened, observe


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


def windows_of(
    moving: Moving, observed: Observations, focal: FloatArray, counted: BoolArray, *, causal: bool
) -> Windows:
    """Of people who move and what is observed of them.

    Where the assumed focal length is wrong, the person's turn and distance are those that the crop shows, and the
    keypoints' places those where the assumed camera has the pixels.

    Args:
        focal: (B,) the assumed focal length, in widths of the picture.
        counted: (B, T) frames whose mean crop is the window camera's.
    """
    (count, frames), ratio = moving.time_s.shape, focal / moving.focal
    centre, side = mean_crop(observed, counted)
    camera, true = WindowCamera.through(centre, side), WindowCamera.through(centre * ratio[:, None], side * ratio)
    fed = tokens(observed, camera, side)
    every = WindowCamera(true.rotation.repeat(frames, 0), true.focal.repeat(frames))
    root = every.entries_of(moving.turn.reshape(-1, 3, 3), moving.pelvis.reshape(-1, 3)).reshape(count, frames, -1)
    # Where the pixel of the pelvis is, at the distance that the crop shows.
    pixel = moving.pelvis[..., :2] / np.maximum(moving.pelvis[..., 2:], 0.05) / ratio[:, None, None]
    place = camera.places(np.asarray(pixel, np.float32))
    shown = pelvis_in_crop(root.reshape(-1, root.shape[-1]), camera.focal.repeat(frames)[:, None])
    shown[:, :2] = (place.reshape(-1, 2) - 0.5) / camera.focal.repeat(frames)[:, None] * shown[:, 2:]
    root[..., PELVIS] = entries_of_pelvis(shown, camera.focal.repeat(frames)[:, None]).reshape(count, frames, 3)
    keypoints = moving.keypoints @ true.rotation[:, None]
    places = camera.places((moving.places / focal[:, None, None, None]).reshape(count, -1, 2))
    return Windows(
        torch.from_numpy(fed),
        causal,
        lags_of(torch.from_numpy(moving.time_s)),
        *map(
            torch.from_numpy,
            (
                camera.focal,
                np.concatenate([root, moving.body], -1).astype(np.float32),
                keypoints,
                places.reshape(moving.places.shape),
                moving.inside,
                moving.contacts.astype(np.float32),
                observed.seen,
                moving.still,
            ),
        ),
    )


def drawn(
    clips: RecordedClips,
    count: int,
    frames: int,
    rng: np.random.Generator,
    *,
    causal: bool,
    fps: float | None = None,
) -> Windows:
    """`count` windows of as many frames of clips, with what was seen of them.

    Args:
        causal: whether frames do not see later ones.
        fps: other than none is the clips', to judge by: then all is as it was seen; else rate and errors are random.
    """
    moving, boxes, errors, seen = clips.draw(count, frames, rng, fps, causal=causal)
    focal = assumed_focal(moving, rng)
    observed = observe(moving, boxes, focal, errors if fps else lessened(errors, rng), seen, rng)
    return windows_of(moving, observed, focal, _counted(observed.seen, rng, fps), causal=causal)


def _counted(seen: BoolArray, rng: np.random.Generator, fps: float | None) -> BoolArray:
    """(B, T) the frames of the mean crop: those that are seen, or some of them that follow each other."""
    frames = np.arange(seen.shape[1])
    first, last = np.sort(rng.integers(len(frames), size=(2, len(seen), 1)), 0)
    some = seen & (frames >= first) & (frames <= last)
    return np.where(some.any(1, keepdims=True) & (fps is None), some, seen)


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


_BEGIN, _SAMPLES = 8, 5
_HIPS = slice(11, 13)


def scores(
    network: LiftingNetwork, batches: Sequence[Windows], bodies: Bodies, posterior: Posterior
) -> dict[str, float]:
    """Of windows of at least 11 frames at an even rate, causal and with the newest frame's window camera.

    Args:
        posterior: for the evidence's lower bound.

    Returns:
        `mpjpe_mm`, and `pa_mm` after the best similarity; `acceleration_mm` a frame²; `nll` of an entry in nats,
        `nll_with_z` its upper bound by the latent; `best_mm` of five samples.
    """
    parts = [_scores(network, batch, bodies) | _bound(network, batch, posterior) for batch in batches]
    gathered = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: values.mean().item() for name, values in gathered.items()}


def _scores(network: LiftingNetwork, batch: Windows, bodies: Bodies) -> dict[str, Tensor]:
    used = _used(batch)
    mask = attention_mask(torch.ones_like(batch.seen), causal=True)
    context = network.context(batch.tokens, batch.lags, mask)
    lifted, prior = network(batch.tokens, batch.lags, mask), network.prior(context)
    smoothed, fitted = smoothed_entries(batch.tokens), batch.tokens[..., FITTED]
    keypoints = bodies(lifted.entries)
    draws = [network.decode(context, smoothed, prior.sample()) for _ in range(_SAMPLES)]
    errors = torch.stack([_apart_mm(bodies(mean), batch.keypoints) for mean, _ in draws])
    three = used[:, 2:] & used[:, 1:-1] & used[:, :-2]
    of_fitted, wrong = bodies(fitted), keypoints - batch.keypoints
    return {
        "mpjpe_mm": _apart_mm(keypoints, batch.keypoints)[used],
        "pa_mm": _aligned_mm(keypoints[used], batch.keypoints[used]),
        "fitted_mm": _apart_mm(of_fitted, batch.keypoints)[used],
        "fitted_pa_mm": _aligned_mm(of_fitted[used], batch.keypoints[used]),
        "smoothed_mm": _apart_mm(bodies(smoothed), batch.keypoints)[used],
        "one_mm": _of_one(network, batch, bodies)[used],
        "acceleration_mm": 1000 * wrong.diff(n=2, dim=1).norm(dim=-1).mean(-1)[three],
        "nll": likelihood(batch.entries, lifted.entries, lifted.sigma)[used],
        "best_mm": errors.amin(0)[used],
    }


def _bound(network: LiftingNetwork, batch: Windows, posterior: Posterior) -> dict[str, Tensor]:
    """`nll_with_z`: −log N(y; μ(z), σ(z)) + KL(q ‖ p), nats of an entry, at one z ~ q(z|X,y)."""
    every = torch.ones_like(batch.seen)
    context = network.context(batch.tokens, batch.lags, attention_mask(every, causal=True))
    q, p = posterior(context, batch.entries, attention_mask(every)), network.prior(context)
    smoothed = smoothed_entries(batch.tokens)
    bound = likelihood(batch.entries, *network.decode(context, smoothed, q.sample())) + q.kl_to(p) / ENTRIES
    return {"nll_with_z": bound[_used(batch)]}


def _used(batch: Windows) -> Tensor:
    """(B, T) the frames that count."""
    return usable(batch) & batch.seen & (torch.arange(batch.seen.shape[1], device=batch.seen.device) >= _BEGIN)


def _of_one(network: LiftingNetwork, batch: Windows, bodies: Bodies) -> Tensor:
    """(B, T) errors in millimetres of frames that are alone in their windows."""
    single = batch.tokens.flatten(0, 1)[:, None]
    every = torch.ones_like(single[..., 0], dtype=torch.bool)
    lifted = network(single, torch.zeros_like(single[..., :1]), attention_mask(every))
    return _apart_mm(bodies(lifted.entries).reshape(batch.keypoints.shape), batch.keypoints)


def _apart_mm(keypoints: Tensor, true: Tensor) -> Tensor:
    """(…,) mean distance of keypoints (…, K, 3), millimetres, when both are moved to their hips' middle."""
    wrong = keypoints - true
    apart: Tensor = (wrong - wrong[..., _HIPS, :].mean(-2, keepdim=True)).norm(dim=-1).mean(-1)
    return 1000 * apart


def _aligned_mm(keypoints: Tensor, true: Tensor) -> Tensor:
    """(N,) the same of keypoints (N, K, 3), after the similarity that fits best."""
    apart: Tensor = (procrustes(keypoints, true) - true).norm(dim=-1).mean(-1)
    return 1000 * apart
