"""Looks at each crop and at its mirror image, both a little enlarged, and answers with the mean of both.

The network has no built-in symmetry; its errors on a picture and on its mirror image are partly independent.  Where the
two answers differ, the mean is surer to be off: by the law of total variance the spread grows by (a − b)²/4.  Trained
on crops with random margins, it sees people better an eighth larger than it learned them, though they show no more
(Touvron et al., "Fixing the train-test resolution discrepancy", 2019); the model card has the figures.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.body.anatomy import (
    MIRROR_SIGNS,
    MIRRORED_CURLS,
    MIRRORED_JOINTS,
    MIRRORED_KEYPOINTS,
    MIRRORED_PARTS,
    MIRRORED_REGIONS,
)
from common.body.rotations import rotation_6d_to_matrix
from sender.perception.network.network import PerceptionNet
from sender.perception.network.output import PerceptionOutput

# Of a rotation's first two columns under M R M, of (area, x, y, xx, yy, xy) of a mask, and of u, v, log extent.
_ROTATION_SIGNS = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
_MOMENT_SIGNS = (1.0, -1.0, 1.0, 1.0, 1.0, -1.0)
_MAP_STRIDES = {"heat_logits": 4, "depth": 2, "mask_logits": 2, "part_logits": 2}
_ENLARGED, _PATCH = 1.125, 16


class FlipAugmentation(nn.Module):
    """Crops (B, 3, S, S), 0…1 RGB → `PerceptionOutput` of B crops, each seen twice.

    Args:
        net: what looks.
    """

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image_B3SS: Tensor) -> PerceptionOutput:
        count, side = len(image_B3SS), image_B3SS.shape[-1]
        both = torch.cat([image_B3SS, image_B3SS.flip(-1)])
        seen = _PATCH * round(_ENLARGED * side / _PATCH)
        larger = functional.interpolate(both, size=(seen, seen), mode="bilinear", align_corners=False)
        output = _fitted(self.net(larger.contiguous(memory_format=torch.channels_last)), side)
        straight, turned = (_rows(output, part) for part in (slice(count), slice(count, None)))
        return mean(straight, mirrored(turned))


def _fitted(output: PerceptionOutput, side: int) -> PerceptionOutput:
    """The maps as fine as for crops of `side` pixels; all else has no size."""

    def resized(name: str) -> Tensor:
        one = getattr(output, name)
        cells = side // _MAP_STRIDES[name]
        stacked = one if one.ndim == 4 else one[:, None]
        fitted = functional.interpolate(stacked, size=(cells, cells), mode="bilinear", align_corners=False)
        return fitted if one.ndim == 4 else fitted[:, 0]

    return replace(output, **{name: resized(name) for name in _MAP_STRIDES})


def _rows(output: PerceptionOutput, rows: slice) -> PerceptionOutput:
    return PerceptionOutput(*(getattr(output, item.name)[rows] for item in fields(output)))


def mirrored(output: PerceptionOutput) -> PerceptionOutput:
    """What is true of the crops' mirror images if `output` is true of the crops; `summary` has no sides and stays."""
    flip = output.joints_3d.new_tensor
    u, rest = output.camera[:, :1], output.camera[:, 1:]
    x, y = output.keypoints_2d[:, MIRRORED_KEYPOINTS].unbind(-1)
    return PerceptionOutput(
        heat_logits=output.heat_logits[:, MIRRORED_KEYPOINTS].flip(-1),
        keypoints_2d=torch.stack([1 - x, y], dim=-1),
        keypoints_sigma=output.keypoints_sigma[:, MIRRORED_KEYPOINTS],
        visible_logit=output.visible_logit[:, MIRRORED_KEYPOINTS],
        joints_3d=output.joints_3d[:, MIRRORED_KEYPOINTS] * flip(MIRROR_SIGNS),
        joints_log_variance=output.joints_log_variance[:, MIRRORED_KEYPOINTS],
        rotations_6d=output.rotations_6d[:, MIRRORED_JOINTS] * flip(_ROTATION_SIGNS),
        rotations_log_variance=output.rotations_log_variance[:, MIRRORED_JOINTS],
        shape=output.shape,
        shape_log_variance=output.shape_log_variance,
        curl=output.curl[:, MIRRORED_CURLS],
        curl_log_variance=output.curl_log_variance[:, MIRRORED_CURLS],
        camera=torch.cat([1 - u, rest], dim=1),
        camera_log_variance=output.camera_log_variance,
        depth=output.depth.flip(-1),
        depth_log_variance=output.depth_log_variance,
        joint_depth=output.joint_depth[:, MIRRORED_KEYPOINTS],
        mask_logits=output.mask_logits.flip(-1),
        part_logits=output.part_logits[:, MIRRORED_PARTS].flip(-1),
        mask_moments=output.mask_moments * flip(_MOMENT_SIGNS),
        region_colours=output.region_colours[:, MIRRORED_REGIONS],
        region_area=output.region_area[:, MIRRORED_REGIONS],
        summary=output.summary,
    )


def mean(first: PerceptionOutput, second: PerceptionOutput) -> PerceptionOutput:
    """The mean of two answers about the same crops, and how far it may be off given how far they lie apart."""
    means = {item.name: (getattr(first, item.name) + getattr(second, item.name)) / 2 for item in fields(first)}

    def widened(name: str, difference: Tensor) -> Tensor:
        within = (getattr(first, name).exp() + getattr(second, name).exp()) / 2
        log_variance: Tensor = (within + difference.square() / 4).log()
        return log_variance

    joints = first.joints_3d - second.joints_3d
    turns = rotation_6d_to_matrix(first.rotations_6d) - rotation_6d_to_matrix(second.rotations_6d)
    apart = (first.keypoints_2d - second.keypoints_2d).square().sum(dim=-1)
    within = (first.keypoints_sigma.square() + second.keypoints_sigma.square()) / 2
    return PerceptionOutput(
        **means
        | {
            "keypoints_sigma": (within + apart / 4).sqrt(),
            "joints_log_variance": widened("joints_log_variance", _root_mean_square(joints)),
            "rotations_log_variance": widened("rotations_log_variance", _root_mean_square(turns.flatten(2))),
            "shape_log_variance": widened("shape_log_variance", first.shape - second.shape),
            "curl_log_variance": widened("curl_log_variance", first.curl - second.curl),
            "camera_log_variance": widened("camera_log_variance", first.camera - second.camera),
        }
    )


def _root_mean_square(numbers: Tensor) -> Tensor:
    return numbers.square().mean(dim=-1).sqrt()
