"""The denoiser of oriented points, conditioned on u_m, with 128 tokens of 16 points each.

    D(x; σ, u_m) = g(u_m) + c_skip (x − g(u_m)) + c_out F(c_in (x − g(u_m)), σ, u_m)

is the preconditioning of Karras et al. 2022 (EDM) around g, a linear map of u_m.  The denoiser's only inputs are u_m
(with its attention bias), the noisy cloud and σ.

Shapes: B people, P = 2048 points in curve order, C = 6 channels (position in metres, normal × 0.2), N = 128 tokens.
"""

import math
from collections.abc import Iterable

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from common.body.anatomy import POINTS, TOKENS
from receiver.decode.geometry_image import CHANNELS
from receiver.diffusion.condition import Condition, DiffusionConfig

POINTS_PER_TOKEN = POINTS // TOKENS
# One unit of a normal is scaled to 0.2 m, so that a single σ suits both positions and normals.
NORMAL_SCALE = 0.2
# Standard deviation of the ground truth around g(u_m).
SIGMA_DATA_M = 0.015
SIGMA_MIN_M, SIGMA_MAX_M = 0.005, 0.5


def to_state(points: Tensor, normals: Tensor) -> Tensor:
    """Points and normals, both (…, P, 3) → the diffusion state (…, P, 6)."""
    return torch.cat([points, normals * NORMAL_SCALE], dim=-1)


def from_state(x: Tensor) -> tuple[Tensor, Tensor]:
    """The diffusion state (…, P, 6) → points in metres and unit normals, both (…, P, 3)."""
    return x[..., :3], functional.normalize(x[..., 3:], dim=-1)


def points_of(tokens_BNX: Tensor) -> Tensor:
    """Tokens (B, 128, 16·6) → their points (B, 2048, 6)."""
    points: Tensor = tokens_BNX.unflatten(-1, (-1, CHANNELS)).flatten(1, 2)
    return points


def tokens_of(points_BPC: Tensor) -> Tensor:
    """The inverse of `points_of`."""
    tokens: Tensor = points_BPC.unflatten(1, (TOKENS, POINTS_PER_TOKEN)).flatten(2)
    return tokens


def level_embedding(sigma_B: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of log σ, (B, width)."""
    frequencies = torch.exp(torch.linspace(math.log(0.25), math.log(16.0), width // 2, device=sigma_B.device))
    angle = (0.25 * sigma_B.log()).unsqueeze(-1) * frequencies * math.pi
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def _block(config: DiffusionConfig) -> Block:
    return Block(config.width, config.heads, qkv_bias=True, init_values=0.2)


class Denoiser(nn.Module):
    """D(x; σ, u_m), as defined in the module docstring."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        channels = POINTS_PER_TOKEN * CHANNELS
        self.width = config.width
        # A token is a fixed patch of the template, so each token has its own linear map.
        self.centre_weight = nn.Parameter(torch.randn(TOKENS, config.width, channels) * 0.02)
        self.centre_bias = nn.Parameter(torch.zeros(TOKENS, channels))
        self.embed = nn.Linear(channels, config.width)
        self.level = nn.Sequential(
            nn.Linear(config.width, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.inject = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.condition_norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.readout = nn.Linear(config.width, channels)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    @torch.no_grad()
    def fit_centre(self, pairs: Iterable[tuple[Tensor, Tensor]], ridge: float = 1e-3) -> None:
        """Fits g by ridge regression to pairs of u_m (B, 128, W) and ground truth (B, P, 6), before training."""
        gram, cross = torch.zeros(()), torch.zeros(())
        for u_m, x_0 in pairs:
            features_NBV = functional.pad(u_m.float(), (0, 1), value=1.0).transpose(0, 1)
            gram = gram + features_NBV.mT @ features_NBV
            cross = cross + features_NBV.mT @ tokens_of(x_0).transpose(0, 1)
        scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        solution = torch.linalg.solve(gram + ridge * scale * torch.eye(gram.shape[-1]), cross)
        self.centre_weight.copy_(solution[:, :-1])
        self.centre_bias.copy_(solution[:, -1])

    def centre(self, condition: Condition) -> Tensor:
        """g(u_m): the linear prediction of the cloud, (B, P, 6)."""
        with torch.autocast(condition.u_m.device.type, enabled=False):  # bf16 would round a metre to 4 mm
            tokens = condition.u_m.float().transpose(0, 1) @ self.centre_weight
            return points_of(tokens.transpose(0, 1) + self.centre_bias)

    def residual(self, x_in: Tensor, sigma_B: Tensor, condition: Condition) -> Tensor:
        """F: the residual in units of c_out, (B, P, 6)."""
        level = self.level(level_embedding(sigma_B, self.width)).unsqueeze(1)
        conditioning = self.condition_norm(condition.u_m) + level
        h = self.embed(tokens_of(x_in))
        bias = condition.bias.to(h.dtype)
        for inject, block in zip(self.inject, self.blocks, strict=True):
            h = block(h + inject(conditioning), attn_mask=bias.to(h.dtype))
        out: Tensor = self.readout(self.norm(h)).float()
        return points_of(out)

    def split(self, x: Tensor, sigma_B: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """(denoised cloud, g(u_m)), both (B, P, 6); the training loss needs both."""
        g = self.centre(condition)
        sigma = sigma_B[:, None, None]
        total = (sigma.square() + SIGMA_DATA_M**2).sqrt()
        offset = x - g.detach()
        f = self.residual(offset / total, sigma_B, condition)
        denoised = g.detach() + offset * (SIGMA_DATA_M / total).square() + f * (sigma * SIGMA_DATA_M / total)
        return denoised, g

    def forward(self, x: Tensor, sigma_B: Tensor, condition: Condition) -> Tensor:
        return self.split(x, sigma_B, condition)[0]
