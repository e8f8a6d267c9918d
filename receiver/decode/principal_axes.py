"""Principal component analysis of a level of geometry features: hundreds of numbers for thousands, at a loss of 2 mm.

Shapes: B people, N patches, C = 6 channels, M axes.
"""

import torch
from torch import Tensor, nn

from receiver.decode.geometry_image import CHANNELS

# One unit of the loss (23) and of the metric of the axes: 0.1 m of position, 0.5 of a component of the normal.
POSITION_UNIT_M = 0.1
NORMAL_UNIT = 0.5


def channel_units(like: Tensor) -> Tensor:
    """(6,) size of one unit of the loss in each channel, with the dtype and device of `like`."""
    return like.new_tensor([POSITION_UNIT_M] * 3 + [NORMAL_UNIT] * 3)


class PrincipalAxes(nn.Module):
    """s = mean + axes · (deviation ⊙ coefficients): fitted to the training bodies once, then fixed."""

    mean: Tensor
    axes: Tensor
    deviation: Tensor

    def __init__(self, patches: int, axes: int) -> None:
        super().__init__()
        self.patches = patches
        self.register_buffer("mean", torch.zeros(patches * CHANNELS))
        self.register_buffer("axes", torch.zeros(axes, patches * CHANNELS))
        self.register_buffer("deviation", torch.ones(axes))

    def fit(self, s_BNC: Tensor) -> None:
        """Fits mean, axes and deviations to bodies (B, N, 6); B must be well above M."""
        flat = (s_BNC / channel_units(s_BNC)).flatten(1)
        self.mean.copy_(flat.mean(0))
        centred = flat - self.mean
        values, vectors = torch.linalg.eigh(centred.mT @ centred / len(flat))
        count = len(self.deviation)
        self.axes.copy_(vectors.flip(1)[:, :count].mT)
        self.deviation.copy_(values.flip(0)[:count].clamp_min(1e-8).sqrt())

    def project(self, s_BNC: Tensor) -> Tensor:
        """(B, N, 6) → coefficients (B, M) of unit variance."""
        flat = (s_BNC / channel_units(s_BNC)).flatten(1)
        coefficients: Tensor = (flat - self.mean) @ self.axes.mT / self.deviation
        return coefficients

    def forward(self, coefficients_BM: Tensor) -> Tensor:
        """Coefficients (B, M) → (B, N, 6), metres and mean normals."""
        flat = self.mean + (coefficients_BM.float() * self.deviation) @ self.axes
        s: Tensor = flat.unflatten(-1, (self.patches, CHANNELS)) * channel_units(flat)
        return s
