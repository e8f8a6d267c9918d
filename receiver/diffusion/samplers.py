"""Samplers: functions of a denoiser (or of u_m), a noisy initial state and a noise schedule.

`sample_ddim` (Song et al. 2021, in the variables of Karras et al. 2022), the default, and `sample_heun` (Karras et al.
2022, algorithm 1) integrate the probability flow without adding noise.  `sample_consistency_multistep` (Song et al.
2023, algorithm 1) adds noise between its steps.  `paper_forward` and `paper_reverse` are eq. 26 and 27, unchanged.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

# (noisy state, σ) → denoised state.
DenoiseFunction = Callable[[Tensor, float], Tensor]


def sigma_schedule(steps: int, sigma_max: float, sigma_min: float = 0.02) -> list[float]:
    """`steps` + 1 noise levels: `sigma_max` down towards `sigma_min`, geometrically spaced, then 0.

    Raises:
        ValueError: `steps` is below 1, or the levels would not decrease.
    """
    if steps < 1 or not 0 < sigma_min <= sigma_max:
        raise ValueError(f"no decreasing schedule of {steps} steps from {sigma_max} to {sigma_min}")
    ratio = (sigma_min / sigma_max) ** (1 / steps)
    return [sigma_max * ratio**step for step in range(steps)] + [0.0]


def sample_consistency_multistep(denoise: DenoiseFunction, x: Tensor, sigmas: Sequence[float], noise: Tensor) -> Tensor:
    """x_{t−1} = D + σ_{t−1} ε: noise is added to the denoised state, so errors of the initial state are discarded."""
    for sigma, following in pairwise(sigmas):
        x = denoise(x, sigma) + following * noise
    return x


def sample_ddim(denoise: DenoiseFunction, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """x_{t−1} = D + (σ_{t−1}/σ_t)(x_t − D): deterministic, one denoiser call per step."""
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        x = denoised + (following / sigma) * (x - denoised)
    return x


def sample_heun(denoise: DenoiseFunction, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Trapezoidal steps of dx/dσ = (x − D(x; σ))/σ: two denoiser calls per step, one for the last."""
    for sigma, following in pairwise(sigmas):
        slope = (x - denoise(x, sigma)) / sigma
        predicted = x + (following - sigma) * slope
        if following > 0:
            slope = 0.5 * (slope + (predicted - denoise(predicted, following)) / following)
            predicted = x + (following - sigma) * slope
        x = predicted
    return x


def paper_forward(x_0: Tensor, u_m: Tensor, c: Sequence[float], generator: torch.Generator | None = None) -> Tensor:
    """X_t = √c_t X_{t−1} + √(1−c_t) (u_m ⊙ ε) for every c_t (26); u_m has the shape of x_0."""
    x = x_0
    for c_t in c:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = c_t**0.5 * x + (1 - c_t) ** 0.5 * (u_m * noise)
    return x


def paper_reverse(x_T: Tensor, u_m: Tensor, c: Sequence[float]) -> Tensor:
    """X_{t−1} = (X_t − √(1−c_t) u_m) / √c_t, last c first (27).

    It subtracts u_m where (26) adds u_m ⊙ ε, so it inverts (26) only if every ε is 1.
    """
    x = x_T
    for c_t in reversed(c):
        x = (x - (1 - c_t) ** 0.5 * u_m) / c_t**0.5
    return x
