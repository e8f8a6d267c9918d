"""Samplers: each is a function of a denoiser (or of u_m), a noisy start and a schedule.

`sample_renoised` (Song et al. 2023, algorithm 1) is the default, `sample_ddim` (Song et al. 2021, in the variables of
Karras et al. 2022) and `sample_heun` (Karras et al. 2022, algorithm 1) follow the flow without new noise;
`paper_forward` and `paper_reverse` are eq. 26 and 27 to the letter.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

# (noisy state, σ in metres) → denoised state.
DenoiseFunction = Callable[[Tensor, float], Tensor]


def sigma_schedule(steps: int, sigma_max: float, sigma_min: float = 0.04) -> list[float]:
    """Noise levels from `sigma_max` down to 0, geometrically spaced: `steps` + 1 numbers.

    Raises:
        ValueError: no step, or the levels do not fall.
    """
    if steps < 1 or not 0 < sigma_min <= sigma_max:
        raise ValueError(f"no schedule of {steps} steps from {sigma_max} to {sigma_min}")
    ratio = (sigma_min / sigma_max) ** (1 / steps)
    return [sigma_max * ratio**step for step in range(steps)] + [0.0]


def sample_consistency_multistep(denoise: DenoiseFunction, x: Tensor, sigmas: Sequence[float], noise: Tensor) -> Tensor:
    """x_{t−1} = D + σ_{t−1} ε: the noise is put on anew, so nothing of a start that was wrong lives on.

    Our starts are guesses (a skinned body, last frame's cloud), not what the forward process would have made of the
    truth; `sample_ddim` carries σ_{t−1}/σ_t of their error along.
    """
    for sigma, following in pairwise(sigmas):
        x = denoise(x, sigma) + following * noise
    return x


def sample_ddim(denoise: DenoiseFunction, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """x_{t−1} = D + (σ_{t−1}/σ_t)(x_t − D): deterministic, one call a step."""
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        x = denoised + (following / sigma) * (x - denoised)
    return x


def sample_heun(denoise: DenoiseFunction, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Trapezoidal steps of dx/dσ = (x − D(x; σ))/σ: two calls a step, one for the last."""
    for sigma, following in pairwise(sigmas):
        slope = (x - denoise(x, sigma)) / sigma
        ahead = x + (following - sigma) * slope
        if following > 0:
            slope = 0.5 * (slope + (ahead - denoise(ahead, following)) / following)
            ahead = x + (following - sigma) * slope
        x = ahead
    return x


def paper_forward(x_0: Tensor, u_m: Tensor, c: Sequence[float], generator: torch.Generator | None = None) -> Tensor:
    """X_t = √c_t X_{t−1} + √(1−c_t) (u_m ⊙ ε) for every c_t (26); u_m as a cloud of the shape of x_0."""
    x = x_0
    for c_t in c:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = c_t**0.5 * x + (1 - c_t) ** 0.5 * (u_m * noise)
    return x


def paper_reverse(x_T: Tensor, u_m: Tensor, c: Sequence[float]) -> Tensor:
    """X_{t−1} = (X_t − √(1−c_t) u_m) / √c_t, last c first (27).

    It takes u_m off where (26) put u_m ⊙ ε on, so it inverts (26) only if every ε is 1.
    """
    x = x_T
    for c_t in reversed(c):
        x = (x - (1 - c_t) ** 0.5 * u_m) / c_t**0.5
    return x
