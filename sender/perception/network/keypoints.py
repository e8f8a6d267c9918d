"""The keypoints head (paper eq. 2): heat maps, their soft-argmax, and 3D places read where the heat is.

Shapes: B batch, J = 17 COCO keypoints, heat maps of H×W cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sender.perception.network.fusion import MultiScaleFusion
from sender.perception.network.stem import Refinement, convolution

KEYPOINTS = 17


@dataclass(frozen=True, slots=True)
class Keypoints:
    """What the keypoints head says.

    Args:
        heat_logits: (B, J, H, W); their sigmoid is the heat map.
        attention: (B, J, H, W), sums to 1 over the map: where each keypoint is.
        positions: (B, J, 2) in crop units, 0…1.
        sigma: (B, J) spread of the heat map, crop units.
        visible_logit: (B, J); its sigmoid is the chance that the keypoint is in the crop and unoccluded.
        joints_3d: (B, J, 3) metres from the pelvis, axes of the crop's camera.
        joints_log_variance: (B, J) of one coordinate of `joints_3d`, metres squared.
        features: (B, J, F) what the map holds where each keypoint is.
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
    height, width = map_HW.shape[-2:]
    y = (torch.arange(height, device=map_HW.device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=map_HW.device, dtype=torch.float32) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


def full_precision(x: Tensor) -> torch.autocast:
    """Products of places must not be rounded to 8 bits: half a pixel, and no slope to learn from."""
    return torch.autocast(x.device.type, enabled=False)


def pool(maps_BCHW: Tensor, attention_BJHW: Tensor) -> Tensor:
    """Mean of each map under each attention: (B, J, C), float32."""
    with full_precision(attention_BJHW):
        return torch.einsum("bchw,bjhw->bjc", maps_BCHW.float(), attention_BJHW)


class KeypointsHead(nn.Module):
    """Multi-scale fusion to heat maps (eq. 2), and location maps of x, y, z for every keypoint.

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
        # A keypoint covers about 1 % of the cells: starting there keeps BCE from spending its first steps on it.
        nn.init.constant_(self.heat.bias, -4.6)  # type: ignore[arg-type]

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> Keypoints:
        fused = self.refine(self.fusion(scales, token_BC))
        heat = self.heat(fused).float()
        attention = self._attend(heat)
        positions, sigma = soft_argmax(attention)
        features = pool(fused, attention)
        sure = self.certainty(torch.cat([features, sigma.detach().log()[..., None]], dim=-1)).float()
        places = self._locate(fused, attention)
        return Keypoints(heat, attention, positions, sigma, sure[..., 0], places, sure[..., 1] - 4.0, features)

    def _attend(self, heat_BJHW: Tensor) -> Tensor:
        sharp = heat_BJHW * (2.0 * self.sharpness)[None, :, None, None].exp()
        attention: Tensor = sharp.flatten(2).softmax(dim=-1).reshape(heat_BJHW.shape)
        return attention

    def _locate(self, fused_BCHW: Tensor, attention_BJHW: Tensor) -> Tensor:
        """Location maps under each keypoint's attention: (B, J, 3) metres."""
        batch, _, height, width = attention_BJHW.shape
        maps = self.location(fused_BCHW).float().reshape(batch, KEYPOINTS, 3, height, width)
        places: Tensor = (maps * attention_BJHW[:, :, None]).sum(dim=(-2, -1))
        return places


def soft_argmax(attention_BJHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean place (B, J, 2) and spread (B, J) of each attention map, in crop units."""
    centres = cell_centres(attention_BJHW)
    flat = attention_BJHW.flatten(2)
    with full_precision(flat):
        mean = flat @ centres
        variance = (flat @ centres.square() - mean.square()).sum(dim=-1)
    return mean, variance.clamp_min(1e-6).sqrt()
