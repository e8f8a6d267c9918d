"""Poses that were not sent: a mixture (paper §5.1, eq. 19–21), q(z'|y') = Σ π_k N(μ_k, Σ_k), and diffusion from it.

A component k belongs to a mode of what a body does: standing, striding, sitting, crouching, lying.  x has the label
entries of trunk and limbs, which way is down in the frame of the pelvis, and how fast that moves.  Of a person whose
limbs are not all seen, π_k and the components are conditioned on what is seen, in closed form.  The last means that a
sender sent of limbs which it does not see are weak evidence: they are seen, too, with more noise.

k is drawn by the Gumbel-max trick and ε by the identity's seed: z' = μ_k + L_k ε (21), with μ_k and L_k of the unseen
entries given the seen ones.  The same person in the same situation does the same thing.

Shapes: K components, D = 65 entries of x, of which O are observed and H hidden.

The diffusion of unseen limbs (paper §5.2, eq. 26 and 27): from a sample of the mixture to a pose that bodies take.

A sample of a Gaussian mode is near real poses only where the mode is one.  With some noise it starts the probability
flow of a learned denoiser, which knows what is seen (u_m), and ends near them (Karras et al. 2022).

`PaperDiffusion` is (26) and (27) to the letter.  They have no learned denoiser, and (27) does not invert (26): it takes
u_m away where (26) added u_m ⊙ ε, so that poses shrink to the mean and noise stays in them.

Shapes: B samples, D = 64 entries of x without speed, G groups of labels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array, IntArray
from common.errors import WeightsError
from common.labels import group_slices
from common.motion.network import POSE, POSE_SIZE
from common.weights import loader
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from receiver.denoising import Denoiser, HeunStep, flow, levels

WEIGHTS_NAME, ARCHITECTURE = "poses", {"kind": "poses-1"}
MODES = ("stand", "stride", "sit", "crouch", "lie")
"""What a body does; `mode` of a component is an index into it."""
_SLICES = group_slices()
SIZE = POSE_SIZE + 4
"""D: x has the labels' entries of the pose, then three for down, and one for speed."""
ENTRIES = {
    name: np.arange(SIZE)[each.start - POSE.start : each.stop - POSE.start]
    for name, each in _SLICES.items()
    if POSE.start <= each.start < POSE.stop
}
"""Label group → its entries of x."""
DOWN, SPEED = slice(SIZE - 4, SIZE - 1), SIZE - 1
SPEED_S = 0.5
"""Seconds over which the speed of a pelvis is that between two positions."""
_STILL_MPS = 0.1

_SEED = 69
SenderError = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Offset, share and deviation of the leading entries of a group."""
# A sender sends the mean of a posterior: of the leading entries, offset + share · truth, and noise so large that the
# truth would have this deviation about (sent − offset) / share.  Of the others nothing is known.  Measured on
# rendered people of the validation split who are cut at the waist or above.
_LIMB = ((0.0, 0.0, 0.0, 0.0), (0.95, 0.52, 0.56, 0.7), (0.37, 0.9, 0.9, 0.85))
SENT: Mapping[str, SenderError] = {
    "torso": ((0.0, 0.0), (0.52, 0.35), (0.76, 0.78)),
    "head": ((0.0, 0.0, 0.0), (0.83, 0.57, 0.3), (0.5, 0.62, 0.89)),
    **dict.fromkeys(("left_arm", "right_arm", "left_leg", "right_leg"), _LIMB),
}
# Of limbs that it does not see.
GUESSED: Mapping[str, SenderError] = dict.fromkeys(SENT, ((-0.25, 0.0, 0.4), (0.49, 0.17, 0.36), (1.05, 1.5, 1.33)))
# Of the direction of down: cameras are held level within 12°.  Of speed.
DOWN_SIGMA, SPEED_SIGMA = (0.12, 0.1, 0.28), 0.5
# Errors of a sender's entries depend on each other, so that together they tell less than their number says.
_TEMPER = 0.5
# A mode, and a component of it, stay until another one is likelier by so many nats.
_MODE_STAYS, _STAYS = 1.5, 4.0
# Share of the Gumbel noise in the choice of a mode: what is seen decides it, unless that tells little.
_MODE_NOISE = 0.5
_TINY = 1e-12
# Of a normal distribution what is rare in it is left out: bodies have limits.
_MOST = 2.2


def speed_of(moved_m: Float64Array) -> Float64Array:
    """The entry of x for how far (..., 3) pelvises have moved in `SPEED_S`, metres: horizontally."""
    return np.asarray(np.log(_STILL_MPS + np.linalg.norm(moved_m[..., ::2], axis=-1) / SPEED_S), np.float64)


@dataclass(frozen=True, eq=False)
class GivenSeen:
    """The mixture of hidden entries given the observed ones.

    Args:
        observed, hidden: (O,) and (H,) their places in x; down is both, since it is seen with noise.
        shift, share: (O,) a sender says shift + share · truth of the observed ones.
        means: (K, D) μ_k.
        whitening: (K O, O) the inverse of the Cholesky factor of the observed entries' covariance, with noise.
        centre: (K O,) the whitened means.
        offset: (K,) log π_k, and the normalisation.
        gain: (K, H, O) of the regression of the hidden entries.
        factor: (K, H, H) Cholesky factor of their covariance that remains.
    """

    observed: IntArray
    hidden: IntArray
    shift: Float64Array
    share: Float64Array
    means: Float64Array
    whitening: Float64Array
    centre: Float64Array
    offset: Float64Array
    gain: Float64Array
    factor: Float64Array

    def log_shares(self, x: Float64Array) -> Float64Array:
        """(K,) log π_k given the observed entries of x, up to a constant."""
        white = (self.whitening @ self._read(x) - self.centre).reshape(len(self.offset), -1)
        return np.asarray(self.offset - 0.5 * _TEMPER * np.square(white).sum(1))

    def sample(self, x: Float64Array, k: int, noise: Float64Array) -> Float64Array:
        """z' (H,) of component k with the noise ε (D,) of the person (21)."""
        mean = self.means[k, self.hidden] + self.gain[k] @ (self._read(x) - self.means[k, self.observed])
        return np.asarray(mean + self.factor[k] @ noise[self.hidden])

    def _read(self, x: Float64Array) -> Float64Array:
        """(O,) the observed entries of x, if there were no noise."""
        return (x[self.observed] - self.shift) / self.share


class PoseMixture:
    """The learned mixture.

    Args:
        shares: (K,) π_k of which nothing is seen.
        means: (K, D) μ_k.
        factors: (K, D, D) Cholesky factors of Σ_k.
        modes: (K,) index into `MODES` of each component.
    """

    def __init__(self, shares: Float64Array, means: Float64Array, factors: Float64Array, modes: IntArray) -> None:
        self.shares, self.means, self.modes = shares, means, modes
        self._covariances = factors @ factors.transpose(0, 2, 1)
        self.given = lru_cache(64)(self._given)
        """`GivenSeen` of the groups that are hidden, and those of them whose means are weak evidence."""

    @classmethod
    def load(cls) -> Self:
        """That of the package. Raises WeightsError if it is missing or of another version."""
        tensors = loader.load_weights(WEIGHTS_NAME, ARCHITECTURE)
        try:
            shares, means, factors = (tensors[name].double().numpy() for name in ("shares", "means", "factors"))
            return cls(shares, means, factors, tensors["modes"].long().numpy())
        except KeyError as error:
            raise WeightsError(f"weights {WEIGHTS_NAME!r} are of another version: reinstall bodywire") from error

    def chosen(self, log_shares: Float64Array, gumbel: Float64Array, before: int | None = None) -> int:
        """k: first the mode, then a component of it; the ones before stay unless others are clearly likelier.

        Args:
            log_shares: (K,) log π_k, up to a constant.
            gumbel: (modes + K,) noise that `drawn` gives the person.
            before: k until now.
        """
        scores = log_shares + gumbel[len(MODES) :]
        likeliest = log_shares.max()
        totals = np.bincount(self.modes, np.exp(log_shares - likeliest), len(MODES))
        by_mode = np.log(totals + _TINY) + _MODE_NOISE * gumbel[: len(MODES)]
        if before is not None:
            scores[before] += _STAYS
            by_mode[self.modes[before]] += _MODE_STAYS
        return int(np.where(self.modes == by_mode.argmax(), scores, -np.inf).argmax())

    def drawn(self, identity: int) -> tuple[Float64Array, Float64Array]:
        """What the seed of an identity draws: (modes + K,) Gumbel noise for k, and ε (2, D), also for the diffusion."""
        gumbel = np.random.default_rng([_SEED, identity, 0]).gumbel(size=len(MODES) + len(self.shares))
        return gumbel, np.random.default_rng([_SEED, identity, 1]).normal(size=(2, SIZE)).clip(-_MOST, _MOST)

    def _given(self, hidden: frozenset[str], weak: frozenset[str]) -> GivenSeen:
        shift, share, sigma = np.zeros(SIZE), np.ones(SIZE), np.full(SIZE, np.inf)
        sigma[DOWN], sigma[SPEED] = DOWN_SIGMA, SPEED_SIGMA
        for name in (SENT.keys() - hidden) | weak & GUESSED.keys():
            error = (GUESSED if name in hidden else SENT)[name]
            leading = ENTRIES[name][: len(error[0])]
            shift[leading], share[leading], sigma[leading] = error
        observed = np.flatnonzero(np.isfinite(sigma))
        unseen = np.concatenate([*(ENTRIES[name] for name in sorted(hidden)), np.arange(SIZE)[DOWN]])
        within = self._covariances[:, observed[:, None], observed] + np.diag(sigma[observed] ** 2)
        across = self._covariances[:, unseen[:, None], observed]
        gain = np.asarray(np.linalg.solve(within, across.transpose(0, 2, 1)).transpose(0, 2, 1), np.float64)
        left = self._covariances[:, unseen[:, None], unseen] - gain @ across.transpose(0, 2, 1)
        whitening = np.linalg.inv(np.linalg.cholesky(within))
        log_volume = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(1)
        offset = np.log(self.shares) + _TEMPER * log_volume
        centre = (whitening @ self.means[:, observed, None]).ravel()
        whitening = whitening.reshape(-1, len(observed))
        factor = np.asarray(np.linalg.cholesky(left), np.float64)
        return GivenSeen(
            observed, unseen, shift[observed], share[observed], self.means, whitening, centre, offset, gain, factor
        )


DIFFUSION_WEIGHTS, KIND = "pose_diffusion", "pose-1"
GROUPS = tuple(ENTRIES)
MASK = torch.stack([torch.isin(torch.arange(SPEED), torch.from_numpy(ENTRIES[name])) for name in GROUPS]).float()
"""(G, D) which entries are of each group."""
ESTIMATED = np.concatenate([ENTRIES[name][: len(error[0])] for name, error in SENT.items()])
"""The entries that senders estimate."""
_CONDITION = len(ESTIMATED) + 2 * len(GROUPS) + (DOWN.stop - DOWN.start) + 1 + len(MODES)
# The noise with which the flow starts, where it ends, and its steps.  The start is noisier than the flow takes it for:
# on validation poses, less of the variety is lost so.
_START, _END, _STEPS, _NOISIER = 0.5, 0.05, 3, 1.3
_PAPER_C: Final = (0.99, 0.99, 0.99)


@dataclass(frozen=True, slots=True)
class PoseDiffusionConfig:
    """Sizes of the denoiser."""

    width: int = 256
    depth: int = 3


class PoseDenoiser(Denoiser):
    """That of standardised x, of which entries that are seen are 0.

    Attributes:
        mean, scale: (D,) of x.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: PoseDiffusionConfig, dropout: float = 0.0) -> None:
        super().__init__(SPEED, _CONDITION, config.width, config.depth, dropout)
        self.config = config
        self.register_buffer("mean", torch.zeros(SPEED))
        self.register_buffer("scale", torch.ones(SPEED))


def condition(estimated: Tensor, hidden: Tensor, known: Tensor, modes: Tensor) -> Tensor:
    """u_m (B, C).

    Args:
        estimated: (B, SIZE) x as it was sent and seen.
        hidden, known: (B, G) bool, the groups that nobody sees, and those of them of which something was sent.
        modes: (B,) index into `MODES`.
    """
    sent = (~hidden | known).float()
    entries = estimated[:, ESTIMATED] * (sent @ MASK)[:, ESTIMATED]
    flags = [hidden.float(), (hidden & known).float(), torch.nn.functional.one_hot(modes, len(MODES)).float()]
    return torch.cat([entries, estimated[:, DOWN], estimated[:, SPEED:], *flags], 1)


def generated(hidden: Tensor) -> Tensor:
    """(B, D) 1 for the entries that are generated of hidden groups (B, G): theirs, and down."""
    mask = hidden.float() @ MASK
    mask[:, DOWN] = 1
    return mask


def load_denoiser() -> PoseDenoiser:
    """With the package's weights. Raises WeightsError if they are missing or of another version."""
    return load_recorded(DIFFUSION_WEIGHTS, KIND, PoseDiffusionConfig, PoseDenoiser)


class PoseRefiner(ABC):
    """Brings samples of the mixture near poses that bodies take; with the statistics of a denoiser."""

    def __init__(self, denoiser: PoseDenoiser) -> None:
        self._mean, self._scale = denoiser.mean.clone(), denoiser.scale.clone()

    @torch.inference_mode()
    def refined(
        self,
        sample: Float64Array,
        estimated: Float64Array,
        hidden: Collection[str],
        known: Collection[str],
        mode: int,
        noise: Float64Array,
    ) -> Float64Array:
        """x (SIZE,) near a sample of the mixture, with noise (SIZE,) of N(0, I); other arguments as `condition`."""
        unseen, sent = (torch.tensor([[name in names for name in GROUPS]]) for names in (hidden, known))
        seen = condition(torch.from_numpy(estimated)[None].float(), unseen, sent, torch.tensor([mode]))
        mask = generated(unseen)
        start = (torch.from_numpy(sample[:SPEED])[None].float() - self._mean) / self._scale
        diffused = self._diffused(mask * start, mask * torch.from_numpy(noise[:SPEED])[None].float(), seen)
        x = self._mean + self._scale * diffused[0]
        return np.concatenate([x.double().numpy() * mask[0].numpy(), np.zeros(SIZE - SPEED)])

    @abstractmethod
    def _diffused(self, x: Tensor, noise: Tensor, seen: Tensor) -> Tensor:
        """Standardised samples (B, D) nearer to poses; both x and noise are 0 in what is seen, `seen` (B, C)."""


class PoseDiffusion(PoseRefiner):
    """The trained diffusion in use; u_m is what is seen."""

    def __init__(self, denoiser: PoseDenoiser) -> None:
        super().__init__(denoiser)
        example = torch.zeros(1, SPEED), torch.ones(1), torch.ones(1), torch.zeros(1, _CONDITION)
        self._step = in_use(HeunStep(denoiser), example, DIFFUSION_WEIGHTS, device=CPU)

    def _diffused(self, x: Tensor, noise: Tensor, seen: Tensor) -> Tensor:
        return flow(self._step, x + _NOISIER * _START * noise, levels(_START, _END, _STEPS), seen)


class PaperDiffusion(PoseRefiner):
    """The paper's diffusion; u_m is the mixture's sample."""

    def _diffused(self, x: Tensor, noise: Tensor, seen: Tensor) -> Tensor:
        u_m = x
        for c in _PAPER_C:
            x = math.sqrt(c) * x + math.sqrt(1 - c) * u_m * noise  # (26)
        for c in reversed(_PAPER_C):
            x = (x - math.sqrt(1 - c) * u_m) / math.sqrt(c)  # (27)
        return x
