"""What reads the trunk: the convolutional stem, multi-scale fusion (paper eq. 2), and the heads that use it.

The keypoints head (2) gives heat maps, their soft-argmax, and 3D positions averaged under the heat maps; the pose head
(3) joint rotations, shape, hands and camera; the others depth (4, 5), person mask and body parts.  Each says how sure
it is.  All are made for `channels`, C_i of each scale, finest first, a task `token` of some width, and have maps of
`width` channels inside.

Shapes: B batch; K scales, of which X_i is (B, C_i, H_i, W_i); J = 17 COCO keypoints, R = 22 joints, H×W cells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3×3 convolutions with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.activation(x_BCHW + self.second(self.first(x_BCHW)))  # type: ignore[no-any-return]


class Refinement(nn.Module):
    """A residual block that is the identity at first, so that it can be inserted into a trained network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.branch[2].weight)  # type: ignore[arg-type]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.branch(x_BCHW)  # type: ignore[no-any-return]


class ConvStem(nn.Module):
    """Crop (B, 3, S, S) → features at stride 4 (B, quarter, S/4, S/4) and stride 8 (B, eighth, S/8, S/8).

    Args:
        refinements: residual blocks at stride 8, after the first.
    """

    def __init__(self, quarter: int = 48, eighth: int = 96, refinements: int = 1) -> None:
        super().__init__()
        self.quarter = nn.Sequential(convolution(3, 24, 2), convolution(24, quarter, 2), convolution(quarter, quarter))
        blocks = (Refinement(eighth) for _ in range(refinements))
        self.eighth = nn.Sequential(convolution(quarter, eighth, 2), Residual(eighth), *blocks)

    def forward(self, image_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(image_B3SS)
        return quarter, self.eighth(quarter)


class ChannelNorm(nn.LayerNorm):
    """LN over the channels of a (B, C, H, W) map."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ScaleBranch(nn.Sequential):
    """σ(BN(Conv3×3(ReLU(Conv1×1(LN(X_i)))))), one summand of eq. 2; σ is SiLU, which does not saturate."""

    def __init__(self, channels: int, hidden: int, outputs: int) -> None:
        super().__init__(
            ChannelNorm(channels),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class MultiScaleFusion(nn.Module):
    """Σ_i of the scale branches (eq. 2), each upsampled to the finest scale; the task token scales the channels.

    The coarser scales are summed and refined before the finest is added.
    """

    def __init__(self, channels: Sequence[int], hidden: int, outputs: int, token: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ScaleBranch(count, hidden, outputs) for count in channels)
        self.refine = Refinement(outputs)
        self.gain = nn.Linear(token, outputs)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> Tensor:
        """Fused map (B, outputs, H, W) at the size of `scales[0]`."""
        maps = [branch(x) for branch, x in zip(self.branches, scales, strict=True)]
        fused = upsample_and_add([maps[0], self.refine(upsample_and_add(maps[1:]))])
        scaled: Tensor = fused * (1.0 + self.gain(token_BC))[:, :, None, None]
        return scaled


def upsample_and_add(maps: Sequence[Tensor]) -> Tensor:
    """Sum of maps, finest first, at the finest resolution; coarser ones are upsampled step by step (bilinear)."""
    total = maps[-1]
    for finer in reversed(maps[:-1]):
        if total.shape[-2:] != finer.shape[-2:]:
            total = functional.interpolate(total, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        total = total + finer
    return total


KEYPOINTS = 17
# Half the side of the window around a peak, in cells: a heat map is trained to fall off within it.
_PEAK_WINDOW_CELLS = 3
_LOG_VARIANCE_BIAS = -4.0  # of an untrained head: a standard deviation of e⁻² ≈ 0.14 m


class Keypoints(NamedTuple):
    """Output of the keypoints head: fields of `PerceptionOutput`, and what other heads read at the keypoints.

    Args:
        attention: (B, J, H, W), the distribution of each keypoint's position; sums to 1 over the map.
        features: (B, J, F) the fused map averaged under each keypoint's attention.
    """

    heat_logits: Tensor
    keypoints_2d: Tensor
    keypoints_sigma: Tensor
    visible_logit: Tensor
    joints_3d: Tensor
    joints_log_variance: Tensor
    attention: Tensor
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
    """Multi-scale fusion to heat maps (eq. 2), and location maps of x, y and z for every keypoint."""

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
        locations = self.location(fused).float().unflatten(1, (KEYPOINTS, 3))
        return Keypoints(
            heat_logits=heat,
            keypoints_2d=positions,
            keypoints_sigma=sigma,
            visible_logit=certainty[..., 0],
            joints_3d=(locations * attention[:, :, None]).sum(dim=(-2, -1)),
            joints_log_variance=certainty[..., 1] + _LOG_VARIANCE_BIAS,
            attention=attention,
            features=features,
        )


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


# Joint rotations, shape coefficients, finger curls, camera parameters.
ROTATIONS, SHAPE, CURL, CAMERA = 22, 10, 4, 3
SIZES = (ROTATIONS * 6, SHAPE, CURL, CAMERA, ROTATIONS, SHAPE, CURL, CAMERA)


class Pose(NamedTuple):
    """Output of the pose head, by the fields of `PerceptionOutput`."""

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
        with full_precision(x):
            rotations, shape, curl, camera, *variances = self.leave(x.float()).split(SIZES, dim=-1)
            rotations_6d = rotations.unflatten(-1, (ROTATIONS, 6)) + self.identity
            log_variances = [variance - 2.0 for variance in variances]
            return Pose(rotations_6d, shape, curl, camera * 0.3 + self.middle, *log_variances), summary.float()


# ReLU cannot give negative depth, so the head predicts depth from a plane this far in front of the pelvis.
DEPTH_OFFSET_M = 1.5
# The deconvolution predicts decimetres: in metres, one optimiser step moves the plane by the size of a body.
_UNIT_M = 0.1


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
    """ReLU(Deconv(Σ_k β_k · Conv3×3(LN(X_k)))) (eq. 4), at twice the resolution of the finest scale."""

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
    """Multi-scale fusion to person mask and part map, at twice the resolution of the finest scale (pixel shuffle)."""

    def __init__(self, channels: Sequence[int], token: int, parts: int, width: int = 48) -> None:
        super().__init__()
        self.fusion = MultiScaleFusion(channels, width // 2, width, token)
        self.read = nn.Conv2d(width, 4 * (1 + parts), 3, padding=1)

    def forward(self, scales: Sequence[Tensor], token_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (B, 2H, 2W) and part logits (B, parts, 2H, 2W); part 0 is the background."""
        maps = functional.pixel_shuffle(self.read(self.fusion(scales, token_BC)), 2).float()
        return maps[:, 0], maps[:, 1:]
