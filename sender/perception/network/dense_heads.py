"""The heads that predict maps of the crop: depth (paper eqs. 4, 5), person mask and body parts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sender.perception.network.fusion import ChannelNorm, MultiScaleFusion, upsample_and_add

# ReLU cannot give negative depth, so the head predicts depth from a plane this far in front of the pelvis.
DEPTH_OFFSET_M = 1.5
# The deconvolution predicts decimetres: in metres, one optimiser step moves the plane by the size of a body.
_UNIT_M = 0.1
_LOG_VARIANCE_BIAS = -4.0  # of an untrained head


class GlobalContext(nn.Module):
    """β = softmax over the scales of a score from each scale's mean and the task token (eq. 5)."""

    def __init__(self, channels: Sequence[int], token: int, hidden: int = 32) -> None:
        super().__init__()
        self.read = nn.ModuleList(nn.Linear(count, hidden) for count in channels)
        self.token = nn.Linear(token, hidden)
        self.weigh = nn.Linear(hidden, 1)

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> Tensor:
        """β, (B, K), sums to 1."""
        token = self.token(token_BC)
        scores = [
            self.weigh(torch.relu(read(x.mean(dim=(-2, -1))) + token))
            for read, x in zip(self.read, scales, strict=True)
        ]
        return torch.cat(scores, dim=-1).float().softmax(dim=-1)


class DepthHead(nn.Module):
    """ReLU(Deconv(Σ_k β_k · Conv3×3(LN(X_k)))) (eq. 4), at twice the resolution of the finest scale.

    Args:
        channels: C_k of each scale, finest first.
        token: width of the task token.
        width: channels of the weighted sum.
    """

    def __init__(self, channels: Sequence[int], token: int, width: int = 24) -> None:
        super().__init__()
        self.context = GlobalContext(channels, token)
        self.branches = nn.ModuleList(
            nn.Sequential(ChannelNorm(count), nn.Conv2d(count, width, 3, padding=1)) for count in channels
        )
        self.deconvolution = nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1)
        self.certainty = nn.Linear(token, 1)
        nn.init.constant_(self.deconvolution.bias, DEPTH_OFFSET_M / _UNIT_M)  # type: ignore[arg-type]

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Depth from the pelvis in metres (B, 2H, 2W), and the log-variance of its error (B,)."""
        beta_BK = self.context(scales, token_BC)
        maps = [
            branch(x) * beta[:, None, None, None]
            for branch, x, beta in zip(self.branches, scales, beta_BK.unbind(dim=-1), strict=True)
        ]
        # As Σβ_k = 1, the weighted sum is K times smaller than a plain one; the factor restores its scale.
        summed = upsample_and_add(maps) * len(maps)
        depth = torch.relu(self.deconvolution(summed)).float()[:, 0] * _UNIT_M - DEPTH_OFFSET_M
        return depth, self.certainty(token_BC).float()[:, 0] + _LOG_VARIANCE_BIAS


class MaskHead(nn.Module):
    """Multi-scale fusion to person mask and part map, at twice the resolution of the finest scale (pixel shuffle).

    Args:
        channels: C_i of each scale, finest first.
        token: width of the task token.
        parts: number of body parts, background included.
        width: channels of the fused map.
    """

    def __init__(self, channels: Sequence[int], token: int, parts: int, width: int = 48) -> None:
        super().__init__()
        self.fusion = MultiScaleFusion(channels, width // 2, width, token)
        self.read = nn.Conv2d(width, 4 * (1 + parts), 3, padding=1)

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (B, 2H, 2W) and part logits (B, parts, 2H, 2W); part 0 is the background."""
        maps = functional.pixel_shuffle(self.read(self.fusion(scales, token_BC)), 2).float()
        return maps[:, 0], maps[:, 1:]
