"""The loss of a `PerceptionOutput` on photographs, whose ground truth is 2D keypoints."""

import torch
from torch import Tensor
from torch.nn import functional

from common.body.model import BodyParameters, KeypointKinematics
from common.body.rotations import rotation_6d_to_matrix
from sender.perception.network.output import PerceptionOutput
from sender.train.multi_task_loss import HEAT_SIGMA_CELLS, heat_targets, inside_crop
from sender.train.photograph_crops import PhotographCrops

# Weight of a keypoint without annotation in the loss on visibility, where most others have one.
_UNLABELLED_WEIGHT = 0.3
# Reprojected keypoints farther away than this (crop units) have a constant gradient direction only; nearer ones are
# within the error of weak perspective.
_REPROJECTION_BETA = 0.02


def keypoint_terms(
    output: PerceptionOutput, truth: PhotographCrops, kinematics: KeypointKinematics
) -> dict[str, Tensor]:
    """BCE on heat maps and visibility, L1 on the soft-argmax, and the reprojection of 3D joints and posed skeleton."""
    labelled, inside = truth.labelled, inside_crop(truth.keypoints_2d)
    target = heat_targets(truth.keypoints_2d, *output.heat_logits.shape[-2:])
    heat = functional.binary_cross_entropy_with_logits(output.heat_logits, target, reduction="none").sum(dim=(-2, -1))
    visible = functional.binary_cross_entropy_with_logits(output.visible_logit, truth.visible, reduction="none")
    distance = (output.keypoints_2d - truth.keypoints_2d).abs().mean(dim=-1)
    return {
        "heat": 1.2 * _mean(heat, labelled) / (2 * torch.pi * HEAT_SIGMA_CELLS**2),
        "visible": 0.2 * _mean(visible, labelled + _UNLABELLED_WEIGHT * truth.unlabelled_hidden),
        "places": 5.0 * _mean(distance, labelled * inside),
        **reprojection_terms(output, truth, kinematics),
    }


def reprojection_terms(
    output: PerceptionOutput, truth: PhotographCrops, kinematics: KeypointKinematics
) -> dict[str, Tensor]:
    """Weak-perspective reprojection of the 3D joints and of the posed skeleton onto the labelled keypoints."""
    matrices = rotation_6d_to_matrix(output.rotations_6d)
    origin = torch.zeros_like(output.joints_3d[:, 0])
    skeleton, _ = kinematics(BodyParameters(matrices, output.curl, output.shape, origin))
    terms = {}
    for name, joints in (("joints", output.joints_3d), ("skeleton", skeleton)):
        distance = functional.smooth_l1_loss(
            weak_perspective(joints, output.camera), truth.keypoints_2d, reduction="none", beta=_REPROJECTION_BETA
        )
        terms[name] = 3.0 * _mean(distance.mean(dim=-1), truth.labelled)
    return terms


def weak_perspective(joints_BJ3: Tensor, camera_B3: Tensor) -> Tensor:
    """Joints (B, J, 3) in metres from the pelvis → crop units (B, J, 2), all at the pelvis' distance."""
    projected: Tensor = camera_B3[:, None, :2] + joints_BJ3[..., :2] / camera_B3[:, None, 2:].exp()
    return projected


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
