"""The perception network: a ViT trunk on a convolutional stem, with four heads (paper §3.1).

    crop ─ stem ─┬─ 1/4 ────────────────────────────────┐
                 ├─ 1/8 ──────────────────────────────┐ │
                 └─ patches 1/16 + PE ┐               │ │   X_i: scales, each head adds its PE_task (1)
                    task tokens ──────┴─ blocks, M_task (6) ─┬─ keypoints (2)
                                                             ├─ depth (4, 5) ── at the keypoints ─┐
                                                             ├─ mask, parts                       │
                                                             └─ pose (3) ◄── at the keypoints ◄───┘

Attention is softmax((QKᵀ + M_task)/√d) V (6) over P patches followed by T task tokens.  M_task by query (row) and key
(column):

            patches   own task   other tasks
    patch      0        −∞           −∞          the trunk does not depend on which tasks read it
    task    learned   learned        −∞          tasks do not disturb each other

The learned part is a bias for every block, attention head, task and patch.

`FusedOutput` has keypoints of two networks; what was learned on perception's own (features, the verifier's evidence)
reads `own`.

Shapes: B crops, S the crop's side (a multiple of 16), P = H·W patches, C trunk width, T = 4 tasks; J = 17 COCO
keypoints, R = 22 joints; of outputs, P body parts (background included).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.body.anatomy import REGIONS
from common.tensor_rows import TensorRows
from common.weights.transformer import Block
from sender.perception.heads import (
    CAMERA,
    CURL,
    KEYPOINTS,
    ROTATIONS,
    SHAPE,
    ConvStem,
    DepthHead,
    KeypointsHead,
    MaskHead,
    PoseHead,
    Refinement,
    cell_centres,
    full_precision,
    pool,
)

PARTS = 1 + len(REGIONS)
SUMMARY = 96
# Standard deviation of a heat map, crop units, below which its keypoint is located.
LOCATED_SIGMA = 0.1

# Sizes of the leading sections of `PerceptionOutput.features()`; those that are deviations, variances or visibilities.
_SIZES = (
    *(2 * KEYPOINTS, KEYPOINTS, KEYPOINTS, 3 * KEYPOINTS, KEYPOINTS, 6 * ROTATIONS, ROTATIONS),
    *(SHAPE, SHAPE, CURL, CURL, CAMERA, CAMERA, KEYPOINTS, 1),
)
FEATURE_SIZE: int = sum(_SIZES) + 6 + 4 * len(REGIONS) + SUMMARY
"""Columns of `PerceptionOutput.features()`."""
_CERTAINTIES = (1, 2, 4, 6, 8, 10, 12, 14)
CERTAINTIES: int = sum(_SIZES[index] for index in _CERTAINTIES)
"""Columns of `certainty_of_features`."""


@dataclass(frozen=True, slots=True)
class PerceptionOutput(TensorRows):
    """The heads' predictions for B crops; lengths in metres, image positions in crop units (0…1), colours 0…1.

    Args:
        heat_logits: (B, J, S/4, S/4); their sigmoid is the heat map.
        keypoints_2d: (B, J, 2).
        keypoints_sigma: (B, J) standard deviation of each heat map.
        visible_logit: (B, J); its sigmoid is the probability that the keypoint is in the crop and not occluded.
        joints_3d: (B, J, 3) from the pelvis, axes of the crop's camera; from the keypoints head.
        joints_log_variance: (B, J) of one coordinate.
        rotations_6d: (B, R, 6) local, the root's in the crop's camera; not orthonormalised.
        rotations_log_variance: (B, R) of one entry of the rotation matrix.
        shape: (B, 10) coefficients; shape_log_variance likewise.
        curl: (B, 4) radians; curl_log_variance likewise.
        camera: (B, 3) u, v of the pelvis, and the log of the metres that the crop spans at the pelvis' distance.
        camera_log_variance: (B, 3).
        depth: (B, S/2, S/2) from the pelvis, positive away from the camera; valid on the person only.
        depth_log_variance: (B,).
        joint_depth: (B, J) of the visible surface at each keypoint, from the depth head.
        mask_logits: (B, S/2, S/2) of the person.
        part_logits: (B, P, S/2, S/2).
        mask_moments: (B, 6) area, centre x y, variances x y, covariance of the mask.
        region_colours: (B, P − 1, 3) mean visible colour of each body region.
        region_area: (B, P − 1) square root of the share of the crop that each region covers.
        summary: (B, 96) weighted statistics of the trunk's scales.
    """

    heat_logits: Tensor
    keypoints_2d: Tensor
    keypoints_sigma: Tensor
    visible_logit: Tensor
    joints_3d: Tensor
    joints_log_variance: Tensor
    rotations_6d: Tensor
    rotations_log_variance: Tensor
    shape: Tensor
    shape_log_variance: Tensor
    curl: Tensor
    curl_log_variance: Tensor
    camera: Tensor
    camera_log_variance: Tensor
    depth: Tensor
    depth_log_variance: Tensor
    joint_depth: Tensor
    mask_logits: Tensor
    part_logits: Tensor
    mask_moments: Tensor
    region_colours: Tensor
    region_area: Tensor
    summary: Tensor

    def split(self) -> list[Self]:
        """One batch of one for each crop."""
        return [self] if len(self) == 1 else [self[row : row + 1] for row in range(len(self))]

    @property
    def own(self) -> "PerceptionOutput":
        """What perception alone says, where a second network has changed its keypoints: this one."""
        return self

    @property
    def located(self) -> Tensor:
        """(B, J) keypoints that are visible and whose heat map has a narrow peak."""
        return (self.visible_logit > 0) & (self.keypoints_sigma < LOCATED_SIGMA)

    def features(self) -> Tensor:
        """Perception's part of X: (B, FEATURE_SIZE), all of order one; with perception's own keypoints."""
        own = self.own
        sections = (
            own.keypoints_2d * 4 - 2,
            own.keypoints_sigma.log() + 3,
            own.visible_logit.sigmoid(),
            self.joints_3d * 3,
            self.joints_log_variance * 0.5 + 2,
            self.rotations_6d,
            self.rotations_log_variance * 0.5 + 2,
            self.shape,
            self.shape_log_variance,
            self.curl,
            self.curl_log_variance,
            torch.cat([self.camera[:, :2] * 4, self.camera[:, 2:] * 2], dim=1),
            self.camera_log_variance * 0.5 + 2,
            self.joint_depth * 3,
            self.depth_log_variance * 0.5 + 2,
            self.mask_moments,
            self.region_colours,
            self.region_area,
            self.summary,
        )
        people = len(self)
        return torch.cat([section.reshape(people, -1) for section in sections], dim=-1)


def pose_of_features(features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of `PerceptionOutput.features`: `rotations_6d` (B, R, 6), `shape`, `curl` and `camera`."""
    sections = features[:, : sum(_SIZES)].split(_SIZES, dim=1)
    camera = torch.cat([sections[11][:, :2] / 4, sections[11][:, 2:] / 2], dim=1)
    return sections[5].unflatten(1, (ROTATIONS, 6)), sections[7], sections[9], camera


def certainty_of_features(features: Tensor) -> Tensor:
    """Of `PerceptionOutput.features`, what perception says of its own errors: (B, CERTAINTIES)."""
    sections = features[:, : sum(_SIZES)].split(_SIZES, dim=1)
    return torch.cat([sections[index] for index in _CERTAINTIES], dim=1)


def mask_moments(mask_BHW: Tensor, centres_N2: Tensor) -> Tensor:
    """Area, centre and second moments of soft masks, (B, 6), scaled to order one.

    Args:
        mask_BHW: 0…1.
        centres_N2: centres of the H·W cells in crop units.
    """
    flat = mask_BHW.flatten(1)
    weights = flat / flat.sum(dim=1, keepdim=True).clamp_min(1.0)
    mean = weights @ centres_N2
    second = weights @ torch.cat([centres_N2.square(), centres_N2.prod(dim=1, keepdim=True)], dim=1)
    spread = second - torch.cat([mean.square(), mean.prod(dim=1, keepdim=True)], dim=1)
    return torch.cat([flat.mean(dim=1, keepdim=True) * 3, mean * 4 - 2, spread * 20], dim=1)


def region_colours(image_B3HW: Tensor, parts_BPHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean visible colour (B, P − 1, 3) of each region, and the square root of its area (B, P − 1).

    A region that is not visible gets a neutral 0.5 rather than the colour of noise.

    Args:
        image_B3HW: 0…1.
        parts_BPHW: probability of each part at each pixel; part 0 is the background.
    """
    regions = parts_BPHW[:, 1:].flatten(2)
    covered = regions.sum(dim=2)
    colour = regions @ image_B3HW.flatten(2).transpose(1, 2)
    return (colour + 0.5) / (covered + 1.0)[..., None], (covered / regions.shape[2]).sqrt()


_OWN, _FUSED = "own_", ("keypoints_2d", "keypoints_sigma", "visible_logit")


@dataclass(frozen=True, slots=True)
class FusedOutput(PerceptionOutput):
    """Perception's output, whose `keypoints_2d`, `keypoints_sigma` and `visible_logit` are those of both networks.

    Args:
        own_keypoints_2d, own_keypoints_sigma, own_visible_logit: perception's.
        second_score: (B, J) of the other network, 0…1.
        second_keypoints_2d: (B, J, 2) its keypoints.
    """

    own_keypoints_2d: Tensor
    own_keypoints_sigma: Tensor
    own_visible_logit: Tensor
    second_score: Tensor
    second_keypoints_2d: Tensor

    @classmethod
    def of(
        cls, output: PerceptionOutput, fused: Sequence[Tensor], second_score: Tensor, second_keypoints_2d: Tensor
    ) -> Self:
        """Perception's output with other `keypoints_2d`, `keypoints_sigma` and `visible_logit` in the place of its own.

        Args:
            fused: these three.
        """
        own = {item.name: getattr(output, item.name) for item in fields(PerceptionOutput)}
        kept = {_OWN + name: own[name] for name in _FUSED}
        second = {"second_score": second_score, "second_keypoints_2d": second_keypoints_2d}
        return cls(**own | dict(zip(_FUSED, fused, strict=True)), **kept, **second)

    @property
    def own(self) -> PerceptionOutput:
        """The output of perception alone."""
        names = [item.name for item in fields(PerceptionOutput)]
        return PerceptionOutput(**{name: getattr(self, _OWN + name, getattr(self, name)) for name in names})


def resample_grid(grid_1CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Resamples a learned grid (bicubic) to `size`, so that one set of weights reads crops of any size."""
    if grid_1CHW.shape[-2:] == size:
        return grid_1CHW
    return functional.interpolate(grid_1CHW, size=size, mode="bicubic", align_corners=False, antialias=False)


class TaskPositionEncoding(nn.Module):
    """PE_task(p) = PE(p) + a learned term of task and position (eq. 1).

    PE(p) is added to the patches before the trunk; each head adds PE_task(p) of its own task to the trunk's patches.
    """

    def __init__(self, channels: int, grid: int, tasks: int) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(1, channels, grid, grid))
        self.conditioned = nn.Parameter(torch.zeros(tasks, channels, grid, grid))
        nn.init.trunc_normal_(self.shared, std=0.02)
        nn.init.trunc_normal_(self.conditioned, std=0.02)

    def forward(self, size: tuple[int, int], task: int | None = None) -> Tensor:
        """(1, C, H, W) PE(p), or PE_task(p) of one task."""
        return resample_grid(self.shared if task is None else self.shared + self.conditioned[task : task + 1], size)


class TaskMask(nn.Module):
    """M_task of all blocks, as an additive mask for timm's attention, whose heads are d = `head_size` wide."""

    def __init__(self, blocks: int, heads: int, head_size: int, grid: int, tasks: int) -> None:
        super().__init__()
        self.heads, self.tasks = heads, tasks
        self.scale = 1.0 / math.sqrt(head_size)
        self.patch_bias = nn.Parameter(torch.zeros(blocks, heads * tasks, grid, grid))
        self.own_bias = nn.Parameter(torch.zeros(blocks, heads, tasks))

    def forward(self, size: tuple[int, int]) -> Tensor:
        """M_task/√d for a patch grid of `size`: (blocks, heads, P + T, P + T)."""
        blocks, patches = len(self.own_bias), size[0] * size[1]
        bias = resample_grid(self.patch_bias, size).reshape(blocks, self.heads, self.tasks, patches)
        own = torch.eye(self.tasks, dtype=torch.bool, device=bias.device)
        between = torch.where(own, self.own_bias[..., None], -torch.inf)
        task_rows = torch.cat([bias, between], dim=-1) * self.scale
        patch_rows = task_rows.new_zeros(blocks, self.heads, patches, patches + self.tasks)
        patch_rows[..., patches:] = -torch.inf
        return torch.cat([patch_rows, task_rows], dim=-2)


TASKS: tuple[str, ...] = ("keypoints", "pose", "depth", "mask")
_KEYPOINTS, _POSE, _DEPTH, _MASK = range(len(TASKS))


@dataclass(frozen=True, slots=True)
class PerceptionConfig:
    """Sizes of the network; what the manifest records as its architecture.

    Args:
        size: side of the crops that the network reads of streams, pixels.
        still_size: the same of photographs, whose sender has time; 0: `size`.
        grid: side of the patch grid that encodings are learned on, in patches; other grids are interpolated.
        width, depth, heads: C, channels of the trunk; its blocks; attention heads of each.
        quarter, eighth: channels of the stem at stride 4, and at stride 8.
        refinements: residual blocks of the stem at stride 8, after the first.
        keypoint_width: channels of the keypoint head's fused map.
        parts: body parts with the background, which this version of the program knows.
    """

    size: int = 160
    still_size: int = 0
    grid: int = 8
    width: int = 192
    depth: int = 8
    heads: int = 3
    quarter: int = 48
    eighth: int = 96
    refinements: int = 1
    keypoint_width: int = 64
    parts: int = PARTS

    def __post_init__(self) -> None:
        if self.parts != PARTS:
            raise ValueError(f"a network of {self.parts} body parts: this version has {PARTS}")
        if self.size % 16 or self.still_size % 16 or self.width % self.heads or self.depth < 2 or self.grid < 1:
            raise ValueError(f"crop size must be a multiple of 16, width of heads, depth at least 2: {asdict(self)}")


class PerceptionNet(nn.Module):
    """Crops (B, 3, S, S), 0…1 RGB → `PerceptionOutput`."""

    def __init__(self, config: PerceptionConfig) -> None:
        super().__init__()
        self.config = config
        width, grid = config.width, config.grid
        self.stem = ConvStem(config.quarter, config.eighth, config.refinements)
        # Convolutions are local by construction; attention has to learn locality.
        self.patches = nn.Sequential(nn.Conv2d(config.eighth, width, 2, stride=2), Refinement(width), Refinement(width))
        self.position = TaskPositionEncoding(width, grid, len(TASKS))
        self.task_tokens = nn.Parameter(torch.randn(1, len(TASKS), width) * 0.02)
        self.task_mask = TaskMask(config.depth, config.heads, width // config.heads, grid, len(TASKS))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.task_norm = nn.LayerNorm(width)
        self.taps = (config.depth // 2 - 1, config.depth - 1)
        channels = (config.quarter, config.eighth, width, width)
        self.keypoints = KeypointsHead(channels, width, config.keypoint_width)
        self.depth = DepthHead(channels, width)
        self.mask = MaskHead(channels, width, PARTS)
        # Of each keypoint: 2D position and its sigma, 3D position, visibility, depth of the surface.
        geometry = KEYPOINTS * (2 + 1 + 3 + 1 + 1)
        self.pose = PoseHead(channels, width, config.keypoint_width, KEYPOINTS, geometry, SUMMARY)

    def forward(self, image_B3SS: Tensor) -> PerceptionOutput:
        scales, tokens_BTC = self.trunk(image_B3SS)
        keypoints = self.keypoints(self.head_input(scales, _KEYPOINTS), tokens_BTC[:, _KEYPOINTS])
        depth, depth_variance = self.depth(self.head_input(scales, _DEPTH), tokens_BTC[:, _DEPTH])
        mask, parts = self.mask(self.head_input(scales, _MASK), tokens_BTC[:, _MASK])
        joint_depth = pool(functional.avg_pool2d(depth[:, None], 2), keypoints.attention)[..., 0]
        numbers = (
            keypoints.keypoints_2d * 4 - 2,
            keypoints.keypoints_sigma.log() + 3,
            keypoints.joints_3d * 3,
            keypoints.visible_logit.sigmoid(),
            joint_depth * 3,
        )
        # Detached: the pose head's loss does not train the heads that predicted them.
        geometry = torch.cat([number.detach().flatten(1) for number in numbers], dim=-1)
        pose, summary = self.pose(self.head_input(scales, _POSE), tokens_BTC[:, _POSE], keypoints.features, geometry)
        person = mask.sigmoid()
        centres = cell_centres(person)
        with full_precision(person):
            moments = mask_moments(person, centres)
        # The colours as one map: three would be padded to sixteen in a compiled network.
        half_size = functional.avg_pool2d(image_B3SS.float().flatten(1, 2)[:, None], 2)[:, 0].unflatten(1, (3, -1))
        with torch.no_grad(), full_precision(person):
            colours, area = region_colours(half_size, parts.softmax(dim=1) * person[:, None])
        columns = keypoints._asdict() | pose._asdict()
        del columns["attention"], columns["features"]
        return PerceptionOutput(
            **columns,
            depth=depth,
            depth_log_variance=depth_variance,
            joint_depth=joint_depth,
            mask_logits=mask,
            part_logits=parts,
            mask_moments=moments,
            region_colours=colours,
            region_area=area,
            summary=summary,
        )

    def trunk(self, image_B3SS: Tensor) -> tuple[list[Tensor], Tensor]:
        """Scales X_i, finest first, and the task tokens (B, T, C)."""
        quarter, eighth = self.stem(image_B3SS * 4.0 - 2.0)
        x_BCHW = self.patches(eighth)
        size = (x_BCHW.shape[-2], x_BCHW.shape[-1])
        x_BCHW = x_BCHW + self.position(size)
        tokens = self.task_tokens.expand(len(x_BCHW), -1, -1)
        x_BNC = torch.cat([x_BCHW.flatten(2).transpose(1, 2), tokens], dim=1)
        scales = [quarter, eighth]
        for index, (block, mask) in enumerate(zip(self.blocks, self.task_mask(size).to(x_BNC.dtype), strict=True)):
            x_BNC = block(x_BNC, attn_mask=mask[None])
            if index in self.taps:
                scales.append(x_BNC[:, : -len(TASKS)].transpose(1, 2).unflatten(2, size))
        return scales, self.task_norm(x_BNC[:, -len(TASKS) :])

    def head_input(self, scales: list[Tensor], task: int) -> list[Tensor]:
        """The scales as one head reads them: PE_task (1) is added to those of the trunk."""
        size = (scales[-1].shape[-2], scales[-1].shape[-1])
        encoding = self.position(size, task)
        return [x + encoding if x.shape[1] == encoding.shape[1] and x.shape[-2:] == size else x for x in scales]
