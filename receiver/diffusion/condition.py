"""Conditioning of the diffusion: u_m = Σ_k ω_k · ViT_k(Rescale(s_i, r_k)) (paper §5.2, eq. 24, 25).

    s_1 (32 patches) ─ ViT_1 ─ each of the 32 repeated for its 4 tokens ─┐
    s_2 (128)        ─ ViT_2 ────────────────────────────────────────────┼─ Σ_k ω_k ─ u_m (128 tokens); also B(s_2)
    s_3 (512)        ─ 4 patches per token ─ ViT_3 ──────────────────────┘
    `surface`, `shape` ─ MLP ─ added to the patches of every ViT_k

The levels are in the curve order of `receiver.decode.geometry_image`, so rescaling groups or repeats runs of 4.  The
weights ω_k depend on the tokens: each scale proposes the logarithm of its own weight.

Shapes: B people, N tokens, W width, A attention heads, C = 6 channels.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from common.body.anatomy import TOKENS
from common.weights.transformer import Block
from receiver.decode.clothing import CLOTHING_SIZE, Clothing
from receiver.decode.geometry_image import CHANNELS, LEVEL_SIZES

# Unit of positions in the networks, for about unit variance over a body.
POSITION_UNIT_M = 0.3
# Blocks start near the identity.
LAYER_SCALE = 0.05
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
    scale_depths: tuple[int, int, int] = (1, 1, 1)
    depth: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")


@dataclass(frozen=True, slots=True)
class Condition:
    """u_m (B, 128, W), and the attention bias B(s_2) (B, A, 128, 128) of the denoiser."""

    u_m: Tensor
    bias: Tensor

    def __getitem__(self, people: Tensor | slice | list[int]) -> Self:
        return type(self)(self.u_m[people], self.bias[people])

    def at(self, tokens: Tensor) -> Self:
        """The condition of other tokens (T,), each named by the one of the 128 that covers it: (B, T, W) and
        (B, A, T, T)."""
        return type(self)(self.u_m[:, tokens], self.bias[:, :, tokens[:, None], tokens])


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

    def forward(self, s_BNC: Tensor, pairs_BFNN: Tensor, clothing_BW: Tensor) -> Tensor:
        with torch.autocast(s_BNC.device.type, enabled=False):  # bf16 would round a metre to 4 mm
            patches = in_units(s_BNC.float()).unflatten(1, (-1, self.per_token))
            x: Tensor = self.embed(patches.flatten(2)) + self.position
        x = x + clothing_BW.unsqueeze(1)
        bias = self.bias(pairs_BFNN)
        for block in self.blocks:
            x = block(x, attn_mask=bias.to(x.dtype))
        return x


def in_units(s: Tensor) -> Tensor:
    """Positions scaled to units of 0.3 m, normals unchanged."""
    return torch.cat([s[..., :3] / POSITION_UNIT_M, s[..., 3:]], dim=-1)


class Conditioner(nn.Module):
    """s_1, s_2, s_3 and clothing → u_m and B(s_2) (24, 25); computed once per frame, not once per denoising step."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        per_token = [max(1, patches // TOKENS) for patches in LEVEL_SIZES]
        triples = zip(LEVEL_SIZES, per_token, config.scale_depths, strict=True)
        self.scales = nn.ModuleList(ScaleViT(config, patches, grouped, depth) for patches, grouped, depth in triples)
        self.clothing = nn.Sequential(
            nn.Linear(CLOTHING_SIZE, 2 * config.width),
            nn.SiLU(),
            nn.Linear(2 * config.width, config.width),
        )
        self.log_weights = nn.ModuleList(nn.Linear(config.width, 1) for _ in LEVEL_SIZES)
        for parameter in self.log_weights.parameters():
            nn.init.zeros_(parameter)
        self.bias = GeometryBias(config.heads)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor], clothing: Clothing) -> Condition:
        pairs_1, pairs_2 = pair_geometry(levels[0]), pair_geometry(levels[1])
        clothes = self.clothing(clothing.vector())
        tokens = [
            scale(s, pairs_2 if s.shape[1] >= TOKENS else pairs_1, clothes)
            for scale, s in zip(self.scales, levels, strict=True)
        ]
        weights = self.weights(tokens)
        repeated = torch.stack([x.repeat_interleave(TOKENS // x.shape[1], dim=1) for x in tokens], dim=-1)
        u_m = (repeated * weights.unsqueeze(2)).sum(-1)
        return Condition(u_m, self.bias(pairs_2))

    def weights(self, tokens: list[Tensor]) -> Tensor:
        """ω_k (24) of each token, (B, 128, 3): positive, with mean 1 over the scales."""
        logits = [
            log_weight(x).repeat_interleave(TOKENS // x.shape[1], dim=1)
            for log_weight, x in zip(self.log_weights, tokens, strict=True)
        ]
        return torch.cat(logits, dim=-1).float().softmax(-1) * len(tokens)
