"""The keypoints head (paper eq. 2): heat maps, their soft-argmax, and 3D positions averaged under the heat maps.

Shapes: B batch, J = 17 COCO keypoints, heat maps of H×W cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sender.perception.network.fusion import MultiScaleFusion
from sender.perception.network.stem import Refinement, convolution

KEYPOINTS = 17
# Half the side of the window around a peak, in cells: a heat map is trained to fall off within it.
_PEAK_WINDOW_CELLS = 3
_LOG_VARIANCE_BIAS = -4.0  # of an untrained head: a standard deviation of e⁻² ≈ 0.14 m


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Output of the keypoints head.

    Args:
        heat_logits: (B, J, H, W); their sigmoid is the heat map.
        attention: (B, J, H, W), the distribution of each keypoint's position; sums to 1 over the map.
        positions: (B, J, 2) in crop units, 0…1.
        sigma: (B, J) standard deviation of `attention`, crop units.
        visible_logit: (B, J); its sigmoid is the probability that the keypoint is in the crop and not occluded.
        joints_3d: (B, J, 3) metres from the pelvis, axes of the crop's camera.
        joints_log_variance: (B, J) of one coordinate of `joints_3d`, metres squared.
        features: (B, J, F) the fused map averaged under each keypoint's attention.
    """

    heat_logits: Tensor
    attention: Tensor
    positions: Tensor
    sigma: Tensor
    visible_logit: Tensor
    joints_3d: Tensor
    joints_log_variance: Tensor
    features: Tensor


def cell_centres(map_HW: Tensor) -> Tensor:
    """Centres of the cells of maps (…, H, W) in crop units: (H·W, 2) as (x, y)."""
    # By whole numbers, so that a network that is traced has constants, and computes nothing in each frame.
    lengths = [int(length) for length in map_HW.shape[-2:]]
    y, x = ((torch.arange(length, device=map_HW.device, dtype=torch.float32) + 0.5) / length for length in lengths)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


def full_precision(x: Tensor) -> torch.autocast:
    """Switches autocast off: bf16 would round positions to half a pixel and lose their gradients."""
    return torch.autocast(x.device.type, enabled=False)


def pool(maps_BCHW: Tensor, attention_BJHW: Tensor) -> Tensor:
    """Mean of each map weighted by each keypoint's attention: (B, J, C), float32."""
    with full_precision(attention_BJHW):
        return torch.einsum("bchw,bjhw->bjc", maps_BCHW.float(), attention_BJHW)


class KeypointsHead(nn.Module):
    """Multi-scale fusion to heat maps (eq. 2), and location maps of x, y and z for every keypoint.

    Args:
        channels: C_i of each scale, finest first.
        token: width of the task token.
        width: channels of the fused map.
    """

    def __init__(self, channels: Sequence[int], token: int, width: int = 64) -> None:
        super().__init__()
        self.fusion = MultiScaleFusion(channels, width // 2, width, token)
        self.refine = nn.Sequential(convolution(width, width), Refinement(width))
        self.heat = nn.Conv2d(width, KEYPOINTS, 1)
        self.location = nn.Conv2d(width, 3 * KEYPOINTS, 1)
        self.sharpness = nn.Parameter(torch.full((KEYPOINTS,), 0.5))
        self.certainty = nn.Linear(width + 1, 2)
        # A keypoint covers about 1 % of the cells: with logit(0.01) as bias, BCE need not learn this frequency first.
        nn.init.constant_(self.heat.bias, -4.6)  # type: ignore[arg-type]

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> Keypoints:
        fused = self.refine(self.fusion(scales, token_BC))
        heat = self.heat(fused).float()
        attention = attend(heat, self.sharpness)
        positions, sigma = soft_argmax(attention)
        features = pool(fused, attention)
        certainty = self.certainty(torch.cat([features, sigma.detach().log()[..., None]], dim=-1)).float()
        return Keypoints(
            heat_logits=heat,
            attention=attention,
            positions=positions,
            sigma=sigma,
            visible_logit=certainty[..., 0],
            joints_3d=self._joints_3d(fused, attention),
            joints_log_variance=certainty[..., 1] + _LOG_VARIANCE_BIAS,
            features=features,
        )

    def _joints_3d(self, fused_BCHW: Tensor, attention_BJHW: Tensor) -> Tensor:
        """Location maps averaged under each keypoint's attention: (B, J, 3) metres."""
        batch, _, height, width = attention_BJHW.shape
        maps = self.location(fused_BCHW).float().reshape(batch, KEYPOINTS, 3, height, width)
        joints: Tensor = (maps * attention_BJHW[:, :, None]).sum(dim=(-2, -1))
        return joints


def attend(heat_BJHW: Tensor, sharpness_J: Tensor) -> Tensor:
    """The distribution of each keypoint's position (B, J, H, W), from the logits of its heat map."""
    sharp = heat_BJHW.flatten(2) * (2.0 * sharpness_J)[None, :, None].exp()
    attention: Tensor = sharp.softmax(dim=-1).reshape(heat_BJHW.shape)
    return attention


def argmax_of_maps(maps_BJHW: Tensor) -> Tensor:
    """The number (B, J) of the highest cell of each map, the first of equal ones.

    By comparing with the highest value: compiled networks take five times as long for `Tensor.argmax`, which sorts.
    """
    flat = maps_BJHW.flatten(2)
    cells = torch.arange(flat.shape[-1], device=flat.device)
    highest = flat == flat.amax(dim=-1, keepdim=True)
    return torch.where(highest, cells, flat.shape[-1]).amin(dim=-1)


def soft_argmax(attention_BJHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, J, 2) and standard deviation (B, J) of each attention map, in crop units."""
    centres = cell_centres(attention_BJHW)
    flat = attention_BJHW.flatten(2)
    with full_precision(flat):
        mean = flat @ centres
        variance = (flat @ centres.square() - mean.square()).sum(dim=-1)
    return mean, variance.clamp_min(1e-6).sqrt()


def peak_positions(attention_BJHW: Tensor) -> Tensor:
    """Mean (B, J, 2) of each attention map near its highest value, in crop units."""
    height, width = attention_BJHW.shape[-2:]
    flat = attention_BJHW.flatten(2)
    highest = argmax_of_maps(attention_BJHW)[..., None]
    cell = torch.arange(height * width, device=flat.device)
    rows = (cell // width - highest // width).abs()
    columns = (cell % width - highest % width).abs()
    near = flat * (torch.maximum(rows, columns) <= _PEAK_WINDOW_CELLS)
    with full_precision(flat):
        positions: Tensor = near @ cell_centres(attention_BJHW) / near.sum(dim=-1, keepdim=True)
    return positions
