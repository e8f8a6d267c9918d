"""The diffusion of unseen limbs (paper §5.2, eq. 26 and 27): from a sample of the mixture to a pose that bodies take.

A sample of a Gaussian mode is near real poses only where the mode is one.  With some noise it starts the probability
flow of a learned denoiser, which knows what is seen (u_m), and ends near them (Karras et al. 2022).

`PaperDiffusion` is (26) and (27) to the letter.  They have no learned denoiser, and (27) does not invert (26): it takes
u_m away where (26) added u_m ⊙ ε, so that poses shrink to the mean and noise stays in them.

Shapes: B samples, D = 64 entries of x without speed, G groups of labels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from receiver.denoising import Denoiser, HeunStep, flow, levels
from receiver.motion.mixture import DOWN, ENTRIES, MODES, SENT, SIZE, SPEED

WEIGHTS_NAME, KIND = "pose_diffusion", "pose-1"
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
    return load_recorded(WEIGHTS_NAME, KIND, PoseDiffusionConfig, PoseDenoiser)


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
        self._step = in_use(HeunStep(denoiser), example, WEIGHTS_NAME, device=CPU)

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
