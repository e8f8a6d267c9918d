"""Test-time augmentation: the mean of the predictions for each crop and for its mirror image.

The network is not symmetric by construction, so its errors on an image and on the mirror image are partly independent.
By the law of total variance, the variance of the predictions about their mean is added to the mean of their variances.

Keypoints are read at the highest peak of the mean heat map instead of averaging over all of it: where a map has two
peaks, such as those of the left and the right knee, their mean is at neither.
"""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from common.body.anatomy import (
    MIRROR_SIGNS,
    MIRRORED_CURLS,
    MIRRORED_JOINTS,
    MIRRORED_KEYPOINTS,
    MIRRORED_PARTS,
    MIRRORED_REGIONS,
)
from common.body.rotations import rotation_6d_to_matrix
from sender.perception.network.keypoints import peak_positions
from sender.perception.network.network import PerceptionNet
from sender.perception.network.output import PerceptionOutput

# Signs under mirroring: of a rotation's first two columns under M R M, and of a mask's (area, x, y, xx, yy, xy).
_ROTATION_SIGNS = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
_MOMENT_SIGNS = (1.0, -1.0, 1.0, 1.0, 1.0, -1.0)


def with_peaks(net: PerceptionNet, average: PerceptionOutput) -> PerceptionOutput:
    """The output with its keypoints at the highest peaks of its heat maps."""
    attention = net.keypoints.attend(average.heat_logits.float().to(net.keypoints.sharpness.device))
    return replace(average, keypoints_2d=peak_positions(attention).to(average.keypoints_2d.device))


def mirrored(output: PerceptionOutput) -> PerceptionOutput:
    """The output for the mirror images of the crops, left and right exchanged; `summary` is kept as it is."""
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


def mean(outputs: Sequence[PerceptionOutput]) -> PerceptionOutput:
    """The mean of several predictions for the same crops, with variances that include the differences between them."""
    stacks = {item.name: torch.stack([getattr(output, item.name) for output in outputs]) for item in fields(outputs[0])}
    means = {name: stack.mean(dim=0) for name, stack in stacks.items()}

    def widened(name: str, between: Tensor) -> Tensor:
        log_variance: Tensor = (stacks[name].exp().mean(dim=0) + between).log()
        return log_variance

    rotations = rotation_6d_to_matrix(stacks["rotations_6d"])
    between = _variance(stacks["keypoints_2d"]).sum(dim=-1)
    return PerceptionOutput(
        **means
        | {
            "keypoints_sigma": (stacks["keypoints_sigma"].square().mean(dim=0) + between).sqrt(),
            "joints_log_variance": widened("joints_log_variance", _variance(stacks["joints_3d"]).mean(dim=-1)),
            "rotations_log_variance": widened("rotations_log_variance", _variance(rotations).mean(dim=(-2, -1))),
            "shape_log_variance": widened("shape_log_variance", _variance(stacks["shape"])),
            "curl_log_variance": widened("curl_log_variance", _variance(stacks["curl"])),
            "camera_log_variance": widened("camera_log_variance", _variance(stacks["camera"])),
        }
    )


def _variance(stack: Tensor) -> Tensor:
    """Of predictions (N, …) about their mean."""
    return stack.var(dim=0, correction=0)
