"""The diffusion of outfits: the measures z' of clothes and hair, given what is known of them.

It stands where the paper (§5.2) diffuses points.  Of its equations nothing computes (22) to (25); (26) and (27), whose
reverse step has no learned denoiser and cannot invert the forward one, are replaced by that of Karras et al. 2022.

In the coordinates of its component, x = L_k⁻¹ (z' − μ_k), the mixture's z' is N(0, I).  The diffusion knows more: how
the measures of real outfits depend on each other across the parts of the body, and which ones agree with the `surface`
labels that have arrived.  Its condition u_m are the kinds, the labels ŷ, and the share K of the variance that they
explain.  It starts from the noise ε that (21) draws, and follows the probability flow without adding any: where the
denoiser knew nothing but the mixture, x would end as ε.

Shapes: B people, D = 18 entries of x, E = 24 entries of `surface`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Float64Array, FloatArray
from common.body.surface_space import SURFACE_SIZE
from common.wear_kinds import VALUES
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from receiver.outfits.mixture import SIZE, Draw, Kinds

WEIGHTS_NAME, KIND = "diffusion", "outfits-1"
SIGMA_MIN, SIGMA_MAX = 0.03, 10.0
"""Least and largest noise, in standard deviations of x."""
_STEPS = 16
# What people wear has ends: largest |x|.
_MOST = 2.5
_CONDITION = sum(map(len, VALUES.values())) + 2 * SURFACE_SIZE
_LEVELS = 32


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """Sizes of the denoiser."""

    width: int = 256
    depth: int = 3


class OutfitDenoiser(nn.Module):
    """D(x; σ, u_m) = c_skip x + c_out F(c_in x, σ, u_m), preconditioned for data of variance 1 (Karras et al. 2022)."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.enter = nn.Linear(SIZE + _CONDITION + _LEVELS, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(config.depth)
        )
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, SIZE)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x_BD: Tensor, sigma_B: Tensor, condition_BC: Tensor) -> Tensor:
        """Noisy x (B, D), σ (B,) and u_m of `condition` → x (B, D) without noise."""
        sigma = sigma_B[:, None]
        total = (sigma.square() + 1).sqrt()
        h = self.enter(torch.cat([x_BD / total, condition_BC, _levels(sigma_B)], 1))
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = x_BD / total.square() + self.leave(self.norm(h)) * sigma / total
        return out


def _levels(sigma_B: Tensor) -> Tensor:
    """(B, 32) sinusoidal embedding of log σ."""
    frequencies = torch.exp(torch.linspace(math.log(0.25), math.log(16.0), _LEVELS // 2, device=sigma_B.device))
    angle = (0.25 * math.pi) * sigma_B.log()[:, None] * frequencies
    return torch.cat([angle.sin(), angle.cos()], 1)


def condition(kinds: Kinds, surface: FloatArray, share: Float64Array) -> FloatArray:
    """u_m (C,) of one person.

    Args:
        kinds: attribute → its value.
        surface: (n,) entries ŷ that have arrived, n ≤ 24: means of a posterior.
        share: (n,) K, the share of each entry's variance that it explains.
    """
    chosen = [kinds[name] == value for name, values in VALUES.items() for value in values]
    seen = np.zeros((2, SURFACE_SIZE), np.float32)
    seen[:, : len(surface)] = surface, share
    return np.concatenate([np.array(chosen, np.float32), seen.ravel()])


class HeunStep(nn.Module):
    """A step along the probability flow, by Heun's method (Karras et al. 2022, algorithm 1)."""

    def __init__(self, denoiser: OutfitDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x_BD: Tensor, sigma_B: Tensor, following_B: Tensor, condition_BC: Tensor) -> tuple[Tensor, ...]:
        """x (B, D) at σ (B,) → x at the σ that follows, which is 0 in the last step."""
        sigma, following = sigma_B[:, None], following_B[:, None]
        first = (x_BD - self.denoiser(x_BD, sigma_B, condition_BC)) / sigma
        predicted = x_BD + (following - sigma) * first
        # At 0 there is no slope.
        least = following_B.clamp_min(SIGMA_MIN / 2)
        second = (predicted - self.denoiser(predicted, least, condition_BC)) / least[:, None]
        corrected = x_BD + (following - sigma) * 0.5 * (first + second)
        return (torch.where(following > 0, corrected, predicted),)


def flow(step: Callable[..., tuple[Tensor, ...]], noise_BD: Tensor, condition_BC: Tensor) -> Tensor:
    """x (B, D) from noise of N(0, I) along the probability flow, by a `HeunStep`."""
    sigmas = [SIGMA_MAX * (SIGMA_MIN / SIGMA_MAX) ** (step / (_STEPS - 1)) for step in range(_STEPS)] + [0.0]
    x = math.sqrt(SIGMA_MAX**2 + 1) * noise_BD
    for ends in pairwise(sigmas):
        (x,) = step(x, *(x.new_full((len(x),), sigma) for sigma in ends), condition_BC)
    return x


class OutfitDiffusion:
    """The trained diffusion in use."""

    def __init__(self, denoiser: OutfitDenoiser, device: torch.device = CPU) -> None:
        example = torch.zeros(1, SIZE), torch.ones(1), torch.ones(1), torch.zeros(1, _CONDITION)
        self._step = in_use(HeunStep(denoiser), example, WEIGHTS_NAME, device=device)

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the package's weights. Raises WeightsError if they are missing or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, DiffusionConfig, OutfitDenoiser), device)

    @torch.inference_mode()
    def sample(self, drawn: Draw, surface: FloatArray, share: Float64Array) -> Float64Array:
        """x (D,) of what was drawn for a person, given what was seen; arguments as for `condition`."""
        u_m = torch.from_numpy(condition(drawn.kinds, surface, share))[None]
        x = flow(self._step, torch.from_numpy(drawn.noise)[None].float(), u_m)[0]
        return np.asarray(x.double().numpy().clip(-_MOST, _MOST), np.float64)
