"""L_multi = Σ λ_task L_task (paper eq. 7): the loss terms of each head, and one weight per head."""

import torch
from torch import Tensor
from torch.nn import functional

from common.body.model import BodyParameters, KeypointKinematics, rotation_6d_to_matrix
from sender.perception.heads import cell_centres
from sender.perception.output import PerceptionOutput
from sender.train.crops.batches import CropBatch
from sender.train.photographs.crops import PhotographCrops

HEAT_SIGMA_CELLS = 1.2

Terms = dict[str, Tensor]
"""Terms of a loss, by name."""


def multi_task_loss(output: PerceptionOutput, truth: CropBatch, kinematics: KeypointKinematics) -> tuple[Tensor, Terms]:
    """The loss (7) of rendered crops, every λ 1, and its terms for the log."""
    positive, people = output[truth.person], truth[truth.person]
    heads = {
        "keypoints": image_terms(output, truth) | joint_terms(positive, people),
        "pose": pose_terms(positive, people, kinematics),
        "depth": depth_terms(positive, people),
        "mask": mask_terms(output, truth),
    }
    terms = {f"{head}.{name}": term for head, each in heads.items() for name, term in each.items()}
    return torch.stack(list(terms.values())).sum(), terms


def pose_terms(output: PerceptionOutput, truth: CropBatch, kinematics: KeypointKinematics) -> Terms:
    """MSE on rotation matrices, shape and hands, L1 on the camera and on the posed skeleton, and certainty."""
    matrices = rotation_6d_to_matrix(output.rotations_6d)
    rotation_error = (matrices - truth.rotations).square().mean(dim=(-2, -1))
    predicted = BodyParameters(matrices, output.curl, output.shape, torch.zeros_like(truth.translation))
    keypoints, bones = kinematics(predicted)
    with torch.no_grad():
        true_keypoints, true_bones = kinematics(truth.parameters())
    camera_error = output.camera - truth.camera
    return {
        "rotations": 2.0 * rotation_error.mean() + 2.0 * rotation_error[:, 0].mean(),
        "skeleton": 4.0 * ((keypoints - true_keypoints).abs().mean() + (bones - true_bones)[:, :22].abs().mean()),
        "shape": 0.1 * functional.mse_loss(output.shape, truth.shape),
        "curl": 0.1 * functional.mse_loss(output.curl, truth.curl),
        "camera": 3.0 * camera_error.abs().mean(),
        "certainty": 0.02
        * (
            log_likelihood(rotation_error, output.rotations_log_variance)
            + log_likelihood((output.shape - truth.shape).square(), output.shape_log_variance)
            + log_likelihood((output.curl - truth.curl).square(), output.curl_log_variance)
            + log_likelihood(camera_error.square(), output.camera_log_variance)
        ),
    }


def log_likelihood(squared_error: Tensor, log_variance: Tensor) -> Tensor:
    """Negative Gaussian log-likelihood of errors; its gradient reaches the variance only, not the error."""
    clamped = log_variance.clamp(-10.0, 5.0)
    cost: Tensor = 0.5 * (squared_error.detach() * (-clamped).exp() + clamped).mean()
    return cost


def heat_targets(keypoints_BJ2: Tensor, height: int, width: int) -> Tensor:
    """Gaussian heat maps (B, J, H, W) with a peak of 1; all 0 for a keypoint outside of the crop."""
    centres = cell_centres(keypoints_BJ2.new_empty(height, width))
    cell = keypoints_BJ2.new_tensor([width, height])
    distance = ((centres - keypoints_BJ2[:, :, None]) * cell).square().sum(dim=-1)
    inside = inside_crop(keypoints_BJ2)
    heat = (-distance / (2 * HEAT_SIGMA_CELLS**2)).exp() * inside[..., None]
    maps: Tensor = heat.unflatten(-1, (height, width))
    return maps


def inside_crop(keypoints_BJ2: Tensor) -> Tensor:
    """(B, J) 1 where a keypoint lies in the crop."""
    return ((keypoints_BJ2 >= 0) & (keypoints_BJ2 <= 1)).all(dim=-1).float()


def image_terms(output: PerceptionOutput, truth: CropBatch | PhotographCrops) -> Terms:
    """BCE on heat maps and visibility, L1 on the soft-argmax."""
    target = heat_targets(truth.keypoints_2d, *output.heat_logits.shape[-2:])
    # The sum over a heat map is 2πσ²: dividing by it makes the term independent of the map's size.
    heat = functional.binary_cross_entropy_with_logits(output.heat_logits, target, reduction="none").sum(dim=(-2, -1))
    seen = functional.binary_cross_entropy_with_logits(output.visible_logit, truth.visible, reduction="none")
    distance = (output.keypoints_2d - truth.keypoints_2d).abs().mean(dim=-1)
    return {
        "heat": 1.2 * _mean(heat, truth.labelled) / (2 * torch.pi * HEAT_SIGMA_CELLS**2),
        "visible": 0.2 * _mean(seen, truth.judged),
        "places": 5.0 * _mean(distance, truth.labelled * inside_crop(truth.keypoints_2d)),
    }


def joint_terms(output: PerceptionOutput, truth: CropBatch) -> Terms:
    """L1 on the 3D joints; certainty."""
    joints = output.joints_3d - truth.relative_joints
    weight = 0.5 + 0.5 * inside_crop(truth.keypoints_2d)
    return {
        "joints": 8.0 * (joints.abs().mean(dim=-1) * weight).mean(),
        "certainty": 0.02 * log_likelihood(joints.square().mean(dim=-1), output.joints_log_variance),
    }


def depth_terms(output: PerceptionOutput, truth: CropBatch) -> Terms:
    """L1 on the person, 1 − SSIM of the masked maps, and certainty."""
    person = (truth.mask > 0.5).float()
    count = person.sum(dim=(-2, -1)).clamp_min(1.0)
    error = (output.depth - truth.depth).abs() * person
    per_crop = error.sum(dim=(-2, -1)) / count
    squared = error.square().sum(dim=(-2, -1)) / count
    return {
        "l1": 3.0 * per_crop.mean(),
        "ssim": 0.5 * (1.0 - structural_similarity(output.depth * person, truth.depth * person)),
        "certainty": 0.02 * log_likelihood(squared, output.depth_log_variance),
    }


def structural_similarity(first_BHW: Tensor, second_BHW: Tensor) -> Tensor:
    """Mean SSIM (Wang et al. 2004) of depths in metres with a uniform window of 7², and a dynamic range of 1 m."""
    maps = torch.stack([first_BHW, second_BHW, first_BHW**2, second_BHW**2, first_BHW * second_BHW], dim=1)
    mean_a, mean_b, square_a, square_b, product = functional.avg_pool2d(maps, 7, stride=2).unbind(dim=1)
    c1, c2 = 0.01**2, 0.03**2
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * (product - mean_a * mean_b) + c2)
    return (similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean()


def mask_terms(output: PerceptionOutput, truth: CropBatch) -> Terms:
    """BCE and Dice on the mask, cross-entropy on the body parts."""
    person = output.mask_logits.sigmoid()
    overlap = 2 * (person * truth.mask).sum(dim=(-2, -1)) + 1.0
    total = person.sum(dim=(-2, -1)) + truth.mask.sum(dim=(-2, -1)) + 1.0
    return {
        "bce": 2.0 * functional.binary_cross_entropy_with_logits(output.mask_logits, truth.mask),
        "dice": 1.0 * (1.0 - overlap / total).mean(),
        "parts": 2.0 * functional.cross_entropy(output.part_logits, truth.part),
    }


# Reprojected keypoints farther away than this (crop units) have a constant gradient direction only; nearer ones are
# within the error of weak perspective.
_REPROJECTION_BETA = 0.02


def keypoint_terms(output: PerceptionOutput, truth: PhotographCrops, kinematics: KeypointKinematics) -> Terms:
    """`image_terms`, and weak-perspective reprojection of 3D joints and posed skeleton onto the labelled keypoints."""
    terms = image_terms(output, truth)
    matrices = rotation_6d_to_matrix(output.rotations_6d)
    origin = torch.zeros_like(output.joints_3d[:, 0])
    skeleton, _ = kinematics(BodyParameters(matrices, output.curl, output.shape, origin))
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
