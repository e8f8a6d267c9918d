"""Nonlinear analysis and synthesis transforms: RGB pictures to latents at 1/16 of their height and width, and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Image
from common.imaging.grid import STRIDE
from common.imaging.layers import Blocks, upsampling


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
