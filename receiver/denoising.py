"""What diffusions of vectors share: denoiser, loss, and samples along the probability flow (Karras et al. 2022).

Shapes: B samples, D entries of x, C of the condition u_m.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_LEVELS = 32
_LEAST_SIGMA = 0.015


class Denoiser(nn.Module):
    """D(x; σ, u_m) = c_skip x + c_out F(c_in x, σ, u_m), preconditioned for data of variance 1.

    Args:
        size, condition: D and C.
        dropout: in training.
    """

    def __init__(self, size: int, condition: int, width: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Linear(size + condition + _LEVELS, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.Dropout(dropout),
            )
            for _ in range(depth)
        )
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, size)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x_BD: Tensor, sigma_B: Tensor, condition_BC: Tensor) -> Tensor:
        """Noisy x (B, D), σ (B,) and u_m → x (B, D) without noise."""
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


class HeunStep(nn.Module):
    """A step along the probability flow, by Heun's method (Karras et al. 2022, algorithm 1)."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x_BD: Tensor, sigma_B: Tensor, following_B: Tensor, condition_BC: Tensor) -> tuple[Tensor, ...]:
        """x (B, D) at σ (B,) → x at the σ that follows, which is 0 in the last step."""
        sigma, following = sigma_B[:, None], following_B[:, None]
        first = (x_BD - self.denoiser(x_BD, sigma_B, condition_BC)) / sigma
        predicted = x_BD + (following - sigma) * first
        # At 0 there is no slope.
        least = following_B.clamp_min(_LEAST_SIGMA)
        second = (predicted - self.denoiser(predicted, least, condition_BC)) / least[:, None]
        corrected = x_BD + (following - sigma) * 0.5 * (first + second)
        return (torch.where(following > 0, corrected, predicted),)


def flow(
    step: Callable[..., tuple[Tensor, ...]], x_BD: Tensor, sigmas: Sequence[float], condition_BC: Tensor
) -> Tensor:
    """x (B, D) with the first of falling noise levels σ → x without noise, by a `HeunStep`."""
    for ends in pairwise((*sigmas, 0.0)):
        (x_BD,) = step(x_BD, *(x_BD.new_full((len(x_BD),), sigma) for sigma in ends), condition_BC)
    return x_BD


def levels(most: float, least: float, steps: int) -> list[float]:
    """Falling noise levels, of equal ratios."""
    return [most * (least / most) ** (step / (steps - 1)) for step in range(steps)]


def denoising_loss(network: Denoiser, x: Tensor, condition: Tensor, sigma_B: Tensor, noise: Tensor) -> Tensor:
    """EDM's weighted loss, in which every noise level counts alike."""
    denoised: Tensor = network(x + sigma_B[:, None] * noise, sigma_B, condition)
    weight = (sigma_B.square() + 1) / sigma_B.square()
    return (weight[:, None] * (denoised - x).square()).mean()
