"""Test-time augmentation: the mean of the predictions for each crop and for its mirror image.

The network is not symmetric by construction, so its errors on an image and on the mirror image are partly independent.
By the law of total variance, the variance of the predictions about their mean is added to the mean of their variances.

Keypoints are read at the highest peak of the mean heat map instead of averaging over all of it: where a map has two
peaks, such as those of the left and the right knee, their mean is at neither.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

import torch
from torch import Tensor, nn

from common.body.anatomy import (
    MIRROR_SIGNS,
    MIRRORED_CURLS,
    MIRRORED_JOINTS,
    MIRRORED_KEYPOINTS,
    MIRRORED_PARTS,
    MIRRORED_REGIONS,
)
from common.body.rotations import rotation_6d_to_matrix
from sender.perception.network.keypoints import attend, peak_positions
from sender.perception.network.output import PerceptionOutput

# Signs under mirroring: of a rotation's first two columns under M R M, and of a mask's (area, x, y, xx, yy, xy).
_ROTATION_SIGNS = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
_MOMENT_SIGNS = (1.0, -1.0, 1.0, 1.0, 1.0, -1.0)


def with_peaks(average: PerceptionOutput, sharpness_J: Tensor) -> PerceptionOutput:
    """The output with its keypoints at the highest peaks of its heat maps; the sharpness is `KeypointsHead`'s."""
    return replace(average, keypoints_2d=peak_positions(attend(average.heat_logits.float(), sharpness_J)))


class Mirror(nn.Module):
    """The output for the mirror images of the crops, left and right exchanged; `summary` is kept as it is."""

    keypoints: Tensor
    joints: Tensor
    curls: Tensor
    parts: Tensor
    regions: Tensor
    signs: Tensor
    rotation_signs: Tensor
    moment_signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        constants = {
            "keypoints": MIRRORED_KEYPOINTS,
            "joints": MIRRORED_JOINTS,
            "curls": MIRRORED_CURLS,
            "parts": MIRRORED_PARTS,
            "regions": MIRRORED_REGIONS,
            "signs": MIRROR_SIGNS,
            "rotation_signs": _ROTATION_SIGNS,
            "moment_signs": _MOMENT_SIGNS,
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, output: PerceptionOutput) -> PerceptionOutput:
        def ordered(name: str, order: Tensor) -> Tensor:
            values: Tensor = getattr(output, name)
            return values.index_select(1, order)

        u, rest = output.camera.split([1, 2], dim=1)
        x, y = ordered("keypoints_2d", self.keypoints).split(1, dim=-1)
        return PerceptionOutput(
            heat_logits=flipped(ordered("heat_logits", self.keypoints)),
            keypoints_2d=torch.cat([1 - x, y], dim=-1),
            keypoints_sigma=ordered("keypoints_sigma", self.keypoints),
            visible_logit=ordered("visible_logit", self.keypoints),
            joints_3d=ordered("joints_3d", self.keypoints) * self.signs,
            joints_log_variance=ordered("joints_log_variance", self.keypoints),
            rotations_6d=ordered("rotations_6d", self.joints) * self.rotation_signs,
            rotations_log_variance=ordered("rotations_log_variance", self.joints),
            shape=output.shape,
            shape_log_variance=output.shape_log_variance,
            curl=ordered("curl", self.curls),
            curl_log_variance=ordered("curl_log_variance", self.curls),
            camera=torch.cat([1 - u, rest], dim=1),
            camera_log_variance=output.camera_log_variance,
            depth=flipped(output.depth),
            depth_log_variance=output.depth_log_variance,
            joint_depth=ordered("joint_depth", self.keypoints),
            mask_logits=flipped(output.mask_logits),
            part_logits=flipped(ordered("part_logits", self.parts)),
            mask_moments=output.mask_moments * self.moment_signs,
            region_colours=ordered("region_colours", self.regions),
            region_area=ordered("region_area", self.regions),
            summary=output.summary,
        )


mirrored: Final = Mirror()
"""On the host."""


def flipped(maps: Tensor, axis: int = -1) -> Tensor:
    """Maps from right to left; by an index, for which compiled networks take half of the time of `Tensor.flip`."""
    width = maps.shape[axis]
    return maps.index_select(axis, torch.arange(width - 1, -1, -1, device=maps.device))


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
