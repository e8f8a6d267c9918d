"""Features of the crop's picture for the clothing network, with the garment and the normal of each cell.

    picture ─ 1/2 ─┬─ 1/4 ─ 1/8 ─ 1/16 ─┐
    maps ──────────┘   └──────┴─────────┴─ fused at 1/4 ─┬─ features
                                                         └─ garments, normals (1/2)

Shapes: B views, P side of the picture, C = `CHANNELS`, M = `GARMENTS` materials.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sender.perception.network.stem import Residual, convolution

FUSED = 64
# 0 is off the person, then the materials of `common.synthetic.assets.appearance`.
GARMENTS = 9
CHANNELS = FUSED + GARMENTS + 3 + 2


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
