"""Conditioning of the point diffusion: u_m = Σ_k ω_k · ViT_k(Rescale(s_i, r_k)) (paper §5.2, eq. 24, 25).

    s_1 (32 patches) ─ ViT_1 ─ each of the 32 repeated for its 4 tokens ─┐
    s_2 (128)        ─ ViT_2 ────────────────────────────────────────────┼─ Σ_k ω_k ─ u_m (128 tokens); also B(s_2)
    s_3 (512)        ─ 4 patches per token ─ ViT_3 ──────────────────────┘

The levels are in the curve order of `receiver.decode.geometry_image`, so rescaling groups or repeats runs of 4.

Shapes: B people, N tokens, W width, A attention heads, C = 6 channels.
"""

from dataclasses import dataclass
from typing import Self

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from common.body.anatomy import TOKENS
from receiver.decode.geometry_image import CHANNELS, LEVEL_SIZES

# Unit of positions in the networks, for about unit variance over a body.
POSITION_UNIT_M = 0.3
# Blocks start near the identity, so that u_m starts as a copy of s_3.
LAYER_SCALE = 0.05
# Channels of a token's 4 patches of s_3.
RESERVED_CHANNELS = LEVEL_SIZES[-1] // TOKENS * CHANNELS
_RADII_M = (0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """Sizes of the conditioner's ViTs and of the denoiser.

    Args:
        width: W.
        heads: A.
        scale_depths: blocks of ViT_1, ViT_2, ViT_3.
        depth: blocks of the denoiser.
    """

    width: int = 128
    heads: int = 4
    scale_depths: tuple[int, int, int] = (2, 1, 1)
    depth: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        if self.width < RESERVED_CHANNELS:
            raise ValueError(f"width {self.width} is below the {RESERVED_CHANNELS} channels that a token has in s_3")


@dataclass(frozen=True, slots=True)
class Condition:
    """u_m (B, 128, W), and the attention bias B(s_2) (B, A, 128, 128) of the denoiser."""

    u_m: Tensor
    bias: Tensor

    def __getitem__(self, people: Tensor | slice) -> Self:
        return type(self)(self.u_m[people], self.bias[people])


def pair_geometry(s_BNC: Tensor) -> Tensor:
    """Pairwise features of patches, (B, 7, N, N): proximity at four radii, dot product of the normals, and the cosine
    of the angle between each patch's normal and the direction to the other patch."""
    with torch.autocast(s_BNC.device.type, enabled=False):  # bf16 would lose the differences of positions
        position, normal = s_BNC[..., :3].float(), nn.functional.normalize(s_BNC[..., 3:].float(), dim=-1)
        norm = position.square().sum(-1)
        squared = (norm.unsqueeze(1) + norm.unsqueeze(2) - 2 * position @ position.mT).clamp_min(0.0)
        height = normal @ position.mT - (normal * position).sum(-1, keepdim=True)
        towards = height / (squared + 1e-4).sqrt()
        proximity = [torch.exp(squared * (-0.5 / radius**2)) for radius in _RADII_M]
        return torch.stack([*proximity, normal @ normal.mT, towards, towards.mT], dim=1)


class GeometryBias(nn.Module):
    """B(s_i) of softmax(QKᵀ/√d + B(s_i)) V (25), from the geometry of the patches instead of their index."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(heads, len(_RADII_M) + 3) * 0.1)

    def forward(self, pairs_BFNN: Tensor) -> Tensor:
        """Features of `pair_geometry` (B, 7, N, N) → attention bias (B, A, N, N)."""
        bias: Tensor = (self.weight @ pairs_BFNN.flatten(2)).unflatten(-1, pairs_BFNN.shape[-2:])
        return bias


class ScaleViT(nn.Module):
    """ViT_k with biased attention over one level, p = `per_token` patches per token: (B, N, 6) → (B, N/p, W).

    The bias of ViT_3 comes from the geometry of its tokens, which is that of s_2.
    """

    def __init__(self, config: DiffusionConfig, patches: int, per_token: int, depth: int) -> None:
        super().__init__()
        self.per_token = per_token
        self.embed = nn.Linear(per_token * CHANNELS, config.width)
        self.position = nn.Parameter(torch.randn(patches // per_token, config.width) * 0.02)
        self.bias = GeometryBias(config.heads)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, qkv_bias=True, init_values=LAYER_SCALE) for _ in range(depth)
        )

    @torch.no_grad()
    def initialise_channels(self, channels: int, *, keep: bool) -> None:
        """Initialises the first `channels` of the width to the token's own patches if `keep`, else to zero."""
        self.embed.weight[:channels] = torch.eye(channels, self.embed.in_features) if keep else 0.0
        self.embed.bias[:channels] = 0.0
        self.position[:, :channels] = 0.0

    def forward(self, s_BNC: Tensor, pairs_BFNN: Tensor) -> Tensor:
        with torch.autocast(s_BNC.device.type, enabled=False):  # bf16 would round a metre to 4 mm
            patches = in_units(s_BNC.float()).unflatten(1, (-1, self.per_token))
            x: Tensor = self.embed(patches.flatten(2)) + self.position
        bias = self.bias(pairs_BFNN)
        for block in self.blocks:
            x = block(x, attn_mask=bias.to(x.dtype))
        return x


def in_units(s: Tensor) -> Tensor:
    """Positions scaled to units of 0.3 m, normals unchanged."""
    return torch.cat([s[..., :3] / POSITION_UNIT_M, s[..., 3:]], dim=-1)


class Conditioner(nn.Module):
    """s_1, s_2, s_3 → u_m and B(s_2) (24, 25); computed once per frame, not once per denoising step."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        per_token = [max(1, patches // TOKENS) for patches in LEVEL_SIZES]
        triples = zip(LEVEL_SIZES, per_token, config.scale_depths, strict=True)
        scales = [ScaleViT(config, patches, grouped, depth) for patches, grouped, depth in triples]
        for scale in scales:
            scale.initialise_channels(RESERVED_CHANNELS, keep=scale is scales[-1])
        self.scales = nn.ModuleList(scales)
        self.omega = nn.Parameter(torch.zeros(len(LEVEL_SIZES)))
        self.bias = GeometryBias(config.heads)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> Condition:
        weights = self.omega.softmax(0) * len(levels)
        pairs_1, pairs_2 = pair_geometry(levels[0]), pair_geometry(levels[1])
        tokens = [
            scale(s, pairs_2 if s.shape[1] >= TOKENS else pairs_1) for scale, s in zip(self.scales, levels, strict=True)
        ]
        repeated = [x.repeat_interleave(TOKENS // x.shape[1], dim=1) for x in tokens]
        u_m = torch.stack([weight * x for weight, x in zip(weights, repeated, strict=True)]).sum(0)
        return Condition(u_m, self.bias(pairs_2))
