"""The network that reads `surface` labels from one view: evidence at the surface points → mean and variance.

    evidence (2048 points) ─ 128 tokens of 16 points ─ blocks ─┐
    features X of the person ─────────────────────── a token ──┴─ pooled ─ mean and log-variance of each entry

Shapes: B people, E = 24 entries of `surface`.
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from common.body.anatomy import POINTS, TOKENS
from common.body.surface_space import SURFACE_SIZE
from sender.clothing.evidence import FEATURES
from sender.perception.network.output import FEATURE_SIZE

# Variances relative to the prior's, which is 1.
_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -6.0, 0.0


@dataclass(frozen=True, slots=True)
class ClothingConfig:
    """Sizes of the network.

    Args:
        width: channels of a token.
        heads: attention heads.
        depth: blocks.
    """

    width: int = 128
    heads: int = 4
    depth: int = 3

    def __post_init__(self) -> None:
        if self.width % self.heads or self.depth < 1:
            raise ValueError(f"width {self.width} must be divisible by heads {self.heads}, depth at least 1")


class ClothingNet(nn.Module):
    """q(surface | one view): Gaussian, independent entries."""

    mean_X: Tensor
    scale_X: Tensor

    def __init__(self, config: ClothingConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.embed = nn.Linear(POINTS // TOKENS * FEATURES, width)
        self.position = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.person = nn.Sequential(nn.Linear(FEATURE_SIZE, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads, qkv_bias=True) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 4)
        self.leave = nn.Sequential(nn.Linear(5 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 2 * SURFACE_SIZE))

    def forward(self, evidence_BNF: Tensor, features_BX: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, E) from evidence (B, 2048, F) and features X (B, FEATURE_SIZE)."""
        tokens = self.embed(evidence_BNF.unflatten(1, (TOKENS, -1)).flatten(2)) + self.position
        person = self.person((features_BX - self.mean_X) / self.scale_X).unsqueeze(1)
        x = torch.cat([tokens, person], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        # Four attention pools over the tokens, and the token of the whole person.
        pools = self.score(x[:, :-1]).softmax(dim=1).mT @ x[:, :-1]
        numbers = self.leave(torch.cat([pools.flatten(1), x[:, -1]], dim=-1)).float()
        mean, log_variance = numbers.chunk(2, dim=-1)
        return mean, log_variance.clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)
