"""The network that reads `surface` labels from one view: evidence at the surface points → mean and variance.

    evidence (2048 points) ─ 128 tokens of 16 points ───────── + ─ blocks ─┐
    picture, silhouette, relief ─ CropEncoder ─┬─ at the tokens' places    │
                                               └─ whole ─┐                 │
    features X of the person ────────────────────────────┴─ a token ───────┴─ pooled ─ mean and log-variance

Shapes: B people, E = 24 entries of `surface`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.body.anatomy import POINTS, TOKENS
from common.body.surface_space import SURFACE_SIZE
from common.weights.transformer import Block
from sender.attributes.surface_evidence import FEATURES, PLACES_M, SurfaceViews
from sender.perception.heads import Residual, convolution
from sender.perception.output import FEATURE_SIZE

FUSED = 64
# 0 is off the person, then the materials of `common.synthetic.assets.appearance`.
GARMENTS = 9
CHANNELS = FUSED + GARMENTS + 3 + 2
# Variances relative to the prior's, which is 1.
_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -6.0, 0.0


class CropEncoder(nn.Module):
    """A small convolutional network, trained with the true garment and normal of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 24, 2)
        self.quarter = nn.Sequential(convolution(26, 48, 2), convolution(48, 48))
        self.eighth = nn.Sequential(convolution(48, 96, 2), Residual(96))
        self.sixteenth = nn.Sequential(convolution(96, 128, 2), Residual(128), Residual(128))
        self.from_sixteenth = nn.Conv2d(128, 96, 1)
        self.refined_eighth = Residual(96)
        self.from_eighth = nn.Conv2d(96, FUSED, 1)
        self.from_quarter = nn.Conv2d(48, FUSED, 1)
        self.fused = convolution(FUSED, FUSED)
        self.leave = nn.Sequential(nn.Conv2d(FUSED, 4 * (GARMENTS + 3), 1), nn.PixelShuffle(2))

    def forward(self, picture: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of a picture (B, 3, P, P), RGB 0…1, and maps (B, 2, P/2, P/2).

        Returns:
            Features (B, C, P/4, P/4), which contain the garments and normals; features of the whole picture (B, 128);
            logits of the garments (B, M, P/2, P/2); and normals in the crop's camera (B, 3, P/2, P/2), not normalised.
        """
        quarter = self.quarter(torch.cat([self.stem(picture - 0.5), maps], dim=1))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.refined_eighth(eighth + _enlarged(self.from_sixteenth(sixteenth)))
        fused = self.fused(self.from_quarter(quarter) + _enlarged(self.from_eighth(eighth)))
        logits, normals = self.leave(fused).float().split([GARMENTS, 3], dim=1)
        shown = torch.cat([logits.softmax(dim=1), normals, maps], dim=1)
        features = torch.cat([fused.float(), functional.avg_pool2d(shown, 2)], dim=1)
        return features, sixteenth.mean(dim=(2, 3)), logits, normals


def _enlarged(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


@dataclass(frozen=True, slots=True)
class SurfaceNetConfig:
    """Sizes of the network."""

    width: int = 128
    heads: int = 4
    depth: int = 3

    def __post_init__(self) -> None:
        if self.width % self.heads or self.depth < 1:
            raise ValueError(f"width {self.width} must be divisible by heads {self.heads}, depth at least 1")


@dataclass(frozen=True, slots=True)
class SurfaceEstimate:
    """What B views say.

    Args:
        mean: (B, E).
        log_variance: (B, E).
        garment_logits: (B, M, P/2, P/2) of the picture's pixels.
        normals: (B, 3, P/2, P/2) of the visible surface, in the crop's camera; not normalised.
    """

    mean: Tensor
    log_variance: Tensor
    garment_logits: Tensor
    normals: Tensor


class SurfaceNet(nn.Module):
    """q(surface | one view): Gaussian, independent entries."""

    mean_X: Tensor
    scale_X: Tensor

    def __init__(self, config: SurfaceNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.encoder = CropEncoder()
        self.embed = nn.Linear(POINTS // TOKENS * FEATURES, width)
        self.embed_places = nn.Linear(len(PLACES_M) * CHANNELS, width)
        self.position = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.person = nn.Sequential(nn.Linear(FEATURE_SIZE + 128, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 4)
        self.leave = nn.Sequential(nn.Linear(5 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 2 * SURFACE_SIZE))

    def forward(self, views: SurfaceViews) -> SurfaceEstimate:
        picture, whole, garment_logits, normals = self.encoder(views.picture, views.maps)
        # Places outside the crop get zeros.
        seen = functional.grid_sample(picture, 2 * views.places - 1, align_corners=False)
        tokens = self.embed(views.evidence.unflatten(1, (TOKENS, -1)).flatten(2)) + self.position
        tokens = tokens + self.embed_places(seen.permute(0, 2, 3, 1).flatten(2))
        features = (views.features - self.mean_X) / self.scale_X
        person = self.person(torch.cat([features, whole], dim=1)).unsqueeze(1)
        x = torch.cat([tokens, person], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        # Four attention pools over the tokens, and the token of the whole person.
        pools = self.score(x[:, :-1]).softmax(dim=1).transpose(1, 2) @ x[:, :-1]
        numbers = self.leave(torch.cat([pools.flatten(1), x[:, -1]], dim=-1)).float()
        mean, log_variance = numbers.chunk(2, dim=-1)
        return SurfaceEstimate(mean, log_variance.clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE), garment_logits, normals)
