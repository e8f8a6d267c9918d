"""The denoiser of displacement fields, conditioned on u_m: 256 tokens of 24 standardised coefficients.

    D(x; σ, u_m) = g + c_skip (x − g) + c_out F(c_in (x − g), σ, u_m)

is the preconditioning of Karras et al. 2022 (EDM) around g, the linear reconstruction from the `surface` labels.  F
sees u_m (with its attention bias), the noisy coefficients and σ, but not g: what the labels say beyond the linear
reconstruction reaches it through u_m alone.

Shapes: B people, T = 256 tokens, K = 24 coefficients (`receiver.diffusion.displacement_basis`), W width.
"""

import math

import torch
from torch import Tensor, nn

from common.weights.transformer import Block
from receiver.diffusion.condition import Condition, DiffusionConfig
from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS

# Standard deviation of the ground truth around g, in standard deviations of the coefficients.
SIGMA_DATA = 0.5


def level_embedding(sigma_B: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of log σ, (B, width)."""
    frequencies = torch.exp(torch.linspace(math.log(0.25), math.log(16.0), width // 2, device=sigma_B.device))
    angle = (0.25 * sigma_B.log()).unsqueeze(-1) * frequencies * math.pi
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class Denoiser(nn.Module):
    """D(x; σ, u_m), as defined in the module docstring.

    Its condition has one token per token of the displacements: `DisplacementBasis.cover` of that of the conditioner.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        width = config.width
        self.width = width
        # A token is a fixed patch of the template with its own basis, so each token has its own linear maps.
        self.embed = nn.Parameter(torch.randn(DISPLACEMENT_TOKENS, COEFFICIENTS, width) * COEFFICIENTS**-0.5)
        self.position = nn.Parameter(torch.randn(DISPLACEMENT_TOKENS, width) * 0.02)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition_norm = nn.LayerNorm(width)
        self.inject = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, qkv_bias=True, init_values=0.2) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Parameter(torch.zeros(DISPLACEMENT_TOKENS, width, COEFFICIENTS))

    def residual(self, x_in: Tensor, sigma_B: Tensor, condition: Condition) -> Tensor:
        """F: the residual in units of c_out, (B, T, K)."""
        level = self.level(level_embedding(sigma_B, self.width)).unsqueeze(1)
        conditioning = self.condition_norm(condition.u_m) + level
        h = torch.einsum("btk,tkw->btw", x_in, self.embed) + self.position
        for inject, block in zip(self.inject, self.blocks, strict=True):
            h = block(h + inject(conditioning), attn_mask=condition.bias.to(h.dtype))
        return torch.einsum("btw,twk->btk", self.norm(h), self.readout).float()

    def forward(self, x: Tensor, sigma_B: Tensor, g: Tensor, condition: Condition) -> Tensor:
        """Noisy coefficients x and g, both (B, T, K), and σ (B,) → denoised coefficients (B, T, K)."""
        sigma = sigma_B[:, None, None]
        total = (sigma.square() + SIGMA_DATA**2).sqrt()
        offset = x - g
        f = self.residual(offset / total, sigma_B, condition)
        return g + offset * (SIGMA_DATA / total).square() + f * (sigma * SIGMA_DATA / total)
