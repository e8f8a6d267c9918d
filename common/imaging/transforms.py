"""The image channel's nonlinear transforms: RGB pictures to latents at 1/16 of their height and width, and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Image
from common.imaging.grid import STRIDE


class Modulation(nn.Module):
    """Scale and shift of features by a condition of each position (FiLM, Perez et al. 2018); starts as the identity.

    Args:
        condition: channels of the condition.
        channels: of the features.
    """

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(condition, 2 * channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        projected: Tensor = self.project(condition)
        scale, shift = projected.chunk(2, dim=1)
        return x * (1 + scale) + shift


class Bottleneck(nn.Module):
    """Residual bottleneck block (He et al. 2016) without normalisation, modulated where it has a condition.

    Starts as the identity, so that a new network is a linear transform.

    Args:
        channels: in and out; half as many inside.
        condition: channels of the condition; 0 for none.
    """

    def __init__(self, channels: int, condition: int = 0) -> None:
        super().__init__()
        inner = channels // 2
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.modulation = Modulation(condition, inner) if condition else None
        self.mix = nn.Conv2d(inner, inner, 3, padding=1)
        self.expand = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        inner: Tensor = self.reduce(x)
        if self.modulation is not None and condition is not None:
            inner = self.modulation(inner, condition)
        inner = functional.relu(self.mix(functional.relu(inner)))
        expanded: Tensor = self.expand(inner)
        return x + expanded


class Blocks(nn.Module):
    """Several residual blocks with the same condition."""

    def __init__(self, count: int, channels: int, condition: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Bottleneck(channels, condition) for _ in range(count))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x


def upsampling(inputs: int, outputs: int) -> nn.Sequential:
    """Sub-pixel convolution (Shi et al. 2016): twice the height and width."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))


class Analysis(nn.Module):
    """Pictures (B, 3, H, W), 0…1, to latents y (B, latents, H/16, W/16); most work is done at 1/8 and 1/16.

    Args:
        widths: channels at 1/4, 1/8 and 1/16.
        latents: channels of y.
    """

    def __init__(self, widths: tuple[int, int, int], latents: int) -> None:
        super().__init__()
        quarter, eighth, sixteenth = widths
        self.layers = nn.Sequential(
            nn.Conv2d(3, quarter, 8, stride=4, padding=2),
            Blocks(1, quarter),
            nn.Conv2d(quarter, eighth, 2, stride=2),
            Blocks(2, eighth),
            nn.Conv2d(eighth, sixteenth, 2, stride=2),
            Blocks(1, sixteenth),
            nn.Conv2d(sixteenth, latents, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        y: Tensor = self.layers(pictures - 0.5)
        return y * LATENT_SCALE


class Synthesis(nn.Module):
    """Latents (B, latents, H/16, W/16) to pictures (B, 3, H, W), not clipped to 0…1."""

    def __init__(self, widths: tuple[int, int, int], latents: int) -> None:
        super().__init__()
        quarter, eighth, sixteenth = widths
        self.layers = nn.Sequential(
            nn.Conv2d(latents, sixteenth, 1),
            Blocks(1, sixteenth),
            upsampling(sixteenth, eighth),
            Blocks(3, eighth),
            upsampling(eighth, quarter),
            Blocks(2, quarter),
            nn.Conv2d(quarter, 3 * 4 * 4, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, y: Tensor) -> Tensor:
        pictures: Tensor = self.layers(y / LATENT_SCALE)
        return pictures + 0.5


LATENT_SCALE = 8.0
"""Latents are rounded to whole numbers, so their unit is a fraction of what the convolutions start with."""


def padded(picture: Image) -> Tensor:
    """(1, 3, H', W') 0…1, the last rows and columns repeated up to multiples of 16."""
    values = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None] / 255.0
    height, width = picture.shape[:2]
    return functional.pad(values, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def as_image(pictures: Tensor) -> Image:
    """The first of pictures (B, 3, H, W), 0…1, as (H, W, 3) of 8 bits."""
    values: NDArray[np.uint8] = (pictures[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return values
