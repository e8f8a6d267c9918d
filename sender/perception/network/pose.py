"""The pose head (paper eq. 3): joint rotations, body shape, hands and camera, each with its uncertainty.

Shapes: B batch, K scales, R = 22 joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Joint rotations, shape coefficients, finger curls, camera parameters.
ROTATIONS, SHAPE, CURL, CAMERA = 22, 10, 4, 3
SIZES = (ROTATIONS * 6, SHAPE, CURL, CAMERA, ROTATIONS, SHAPE, CURL, CAMERA)


@dataclass(frozen=True, slots=True)
class Pose:
    """Output of the pose head; each log-variance is of one number, in the square of its unit.

    Args:
        rotations_6d: (B, 22, 6) local rotations, the root's in the crop's camera.
        shape: (B, 10) coefficients.
        curl: (B, 4) of the fingers, radians.
        camera: (B, 3) u and v of the pelvis in crop units, and the log of the metres that the crop spans at the pelvis.
    """

    rotations_6d: Tensor
    shape: Tensor
    curl: Tensor
    camera: Tensor
    rotations_log_variance: Tensor
    shape_log_variance: Tensor
    curl_log_variance: Tensor
    camera_log_variance: Tensor


class ScaleStatistics(nn.Module):
    """Mean and variance of each X_i → FC → softmax weights → weighted sum of the projected statistics (eq. 3)."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.normalise = nn.ModuleList(nn.LayerNorm(2 * count) for count in channels)
        self.project = nn.ModuleList(nn.Linear(2 * count, width) for count in channels)
        self.weigh = nn.ModuleList(nn.Linear(2 * count, 1) for count in channels)

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        """(B, width)."""
        statistics = [
            normalise(torch.cat([x.mean(dim=(-2, -1)), x.var(dim=(-2, -1))], dim=-1))
            for normalise, x in zip(self.normalise, scales, strict=True)
        ]
        scores = torch.cat([weigh(s) for weigh, s in zip(self.weigh, statistics, strict=True)], dim=-1)
        weights_BK = scores.float().softmax(dim=-1)
        projected = torch.stack([project(s) for project, s in zip(self.project, statistics, strict=True)], dim=1)
        return (projected * weights_BK[..., None]).sum(dim=1)


class PoseHead(nn.Module):
    """An MLP over scale statistics, the task token, and the features and geometry of the keypoints.

    Args:
        channels: C_i of each scale, finest first.
        token: width of the task token.
        geometry: number of geometric inputs (positions, depths, standard deviations).
        summary: width of the weighted statistics, which the semantics stage reads too.
    """

    identity: Tensor
    middle: Tensor

    def __init__(
        self, channels: Sequence[int], token: int, keypoint_features: int, keypoints: int, geometry: int, summary: int
    ) -> None:
        super().__init__()
        hidden = 512
        self.statistics = ScaleStatistics(channels, summary)
        self.at_keypoints = nn.Linear(keypoint_features, 24)
        self.enter = nn.Linear(summary + token + 24 * keypoints + geometry, hidden)
        self.residual = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            for _ in range(2)
        )
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, sum(SIZES)))
        # The last layer's output starts near zero, which then is: no rotation, the pelvis in the middle of a crop that
        # spans e^0.8 ≈ 2.2 m, and log-variances of −2.
        self.register_buffer("identity", torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), persistent=False)
        self.register_buffer("middle", torch.tensor([0.5, 0.5, 0.8]), persistent=False)

    def forward(
        self, scales: Sequence[Tensor], token_BC: Tensor, features_BJF: Tensor, geometry_BG: Tensor
    ) -> tuple[Pose, Tensor]:
        """The pose, and the summary (B, summary)."""
        summary = self.statistics(scales)
        at_keypoints = self.at_keypoints(features_BJF).flatten(1)
        x = self.enter(torch.cat([summary, token_BC, at_keypoints, geometry_BG], dim=-1))
        for block in self.residual:
            x = x + block(x)
        with torch.autocast(x.device.type, enabled=False):
            return self._as_pose(self.leave(x.float())), summary.float()

    def _as_pose(self, numbers: Tensor) -> Pose:
        rotations, shape, curl, camera, *variances = numbers.split(SIZES, dim=-1)
        rotations_6d = rotations.unflatten(-1, (ROTATIONS, 6)) + self.identity
        log_variances = [variance - 2.0 for variance in variances]
        return Pose(rotations_6d, shape, curl, camera * 0.3 + self.middle, *log_variances)
