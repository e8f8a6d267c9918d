"""The diffusion of outfits: the measures z' of clothes and hair, given what is known of them.

It stands where the paper (§5.2) diffuses points.  (26) and (27), whose reverse step has no learned denoiser and cannot
invert the forward one (`receiver.motion.diffusion` measures them), are replaced by that of Karras et al. 2022.

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
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array, FloatArray
from common.body.surface_space import SURFACE_SIZE
from common.wear_kinds import VALUES
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from receiver.denoising import Denoiser, HeunStep, flow, levels
from receiver.outfits.mixture import SIZE, Draw, Kinds

WEIGHTS_NAME, KIND = "diffusion", "outfits-1"
SIGMA_MIN, SIGMA_MAX = 0.03, 10.0
"""Least and largest noise, in standard deviations of x."""
_STEPS = 16
# What people wear has ends: largest |x|.
_MOST = 2.5
_CONDITION = sum(map(len, VALUES.values())) + 2 * SURFACE_SIZE


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """Sizes of the denoiser."""

    width: int = 256
    depth: int = 3


class OutfitDenoiser(Denoiser):
    """That of x, with u_m of `condition`."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(SIZE, _CONDITION, config.width, config.depth)
        self.config = config


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


def sample(step: Callable[..., tuple[Tensor, ...]], noise_BD: Tensor, condition_BC: Tensor) -> Tensor:
    """x (B, D) from noise of N(0, I) along the probability flow, by a `HeunStep`."""
    return flow(step, math.sqrt(SIGMA_MAX**2 + 1) * noise_BD, levels(SIGMA_MAX, SIGMA_MIN, _STEPS), condition_BC)


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
        x = sample(self._step, torch.from_numpy(drawn.noise)[None].float(), u_m)[0]
        return np.asarray(x.double().numpy().clip(-_MOST, _MOST), np.float64)
