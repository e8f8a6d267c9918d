"""Perception's scores, with units: for the training log and the manifest."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from common.body.model import BodyParameters, KeypointKinematics, rotation_6d_to_matrix
from common.training.run import on_device
from common.weights.devices import device_of, fast_autocast
from sender.perception.output import PerceptionOutput
from sender.train.crops.batches import CropBatch
from sender.train.photographs.crops import PhotographCrops

Truth = TypeVar("Truth", CropBatch, PhotographCrops)


def procrustes(predicted_BJ3: Tensor, true_BJ3: Tensor) -> Tensor:
    """`predicted` after the least-squares similarity transform onto `true` (Umeyama 1991)."""
    mean_p, mean_t = predicted_BJ3.mean(dim=1, keepdim=True), true_BJ3.mean(dim=1, keepdim=True)
    p, t = predicted_BJ3 - mean_p, true_BJ3 - mean_t
    u, s, vh = torch.linalg.svd(p.transpose(1, 2) @ t)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    scale = (s * sign).sum(dim=1) / p.square().sum(dim=(1, 2)).clamp_min(1e-9)
    aligned: Tensor = scale[:, None, None] * (p @ (u * sign[:, None]) @ vh) + mean_t
    return aligned


def intersection_over_union(predicted_BHW: Tensor, true_BHW: Tensor) -> Tensor:
    """(B,) IoU of boolean masks."""
    intersection = (predicted_BHW & true_BHW).sum(dim=(-2, -1)).float()
    union = (predicted_BHW | true_BHW).sum(dim=(-2, -1)).float()
    return intersection / union.clamp_min(1.0)


def person_scores(output: PerceptionOutput, truth: CropBatch, kinematics: KeypointKinematics) -> dict[str, Tensor]:
    """(B,) scores of each person, with units in the names; `joints` are of the keypoints head."""
    matrices = rotation_6d_to_matrix(output.rotations_6d)
    origin = torch.zeros_like(truth.translation)
    posed, _ = kinematics(BodyParameters(matrices, output.curl, output.shape, origin))
    mask, true = truth.mask > 0.5, truth.relative_joints
    depth_error = ((output.depth - truth.depth).abs() * mask).sum(dim=(-2, -1))
    return {
        "mpjpe_joints_mm": 1000.0 * (output.joints_3d - true).norm(dim=-1).mean(dim=-1),
        "mpjpe_pose_mm": 1000.0 * (posed - true).norm(dim=-1).mean(dim=-1),
        "mask_iou": intersection_over_union(output.mask_logits > 0, mask),
        "depth_mm": 1000.0 * depth_error / mask.sum(dim=(-2, -1)).clamp_min(1),
    }


@torch.no_grad()
def evaluate(net: nn.Module, batches: Iterable[CropBatch], kinematics: KeypointKinematics) -> dict[str, float]:
    """Mean scores of `net` over rendered crops."""
    people: dict[str, list[Tensor]] = defaultdict(list)
    for output, truth in outputs(net, batches):
        for name, score in person_scores(output, truth, kinematics).items():
            people[name].append(score)
    return {name: round(float(torch.cat(each).mean()), 4) for name, each in people.items()}


def outputs(net: nn.Module, batches: Iterable[Truth]) -> Iterator[tuple[PerceptionOutput, Truth]]:
    """What a network makes of crops in evaluation mode, and their truth, both on its device."""
    net.eval()
    device = device_of(net)
    for crops in batches:
        truth = on_device(crops, device)
        with fast_autocast(device.type):
            output = net(truth.image)
        yield output, truth


SHARES = (0.05, 0.1, 0.2)
"""Of the longer side of the box around a person's keypoints."""


@torch.no_grad()
def keypoint_scores(found: Iterable[tuple[Tensor, PhotographCrops]]) -> dict[str, float]:
    """PCK of all labelled keypoints, of the places (B, 17, 2) that are found in batches of crops."""
    errors, labelled = [], []
    for places, truth in found:
        errors.append(relative_errors(places, truth.keypoints_2d, truth.labelled))
        labelled.append(truth.labelled > 0)
    error, counted = torch.cat(errors), torch.cat(labelled)
    scores = {f"photographs_pck{100 * share:02.0f}": _share(error <= share, counted) for share in SHARES}
    scores["photographs_pck10_standard_error"] = standard_error(error <= 0.1, counted)
    scores["photographs_people"] = len(error)
    return {name: round(value, 4) for name, value in scores.items()}


def relative_errors(predicted_BJ2: Tensor, true_BJ2: Tensor, labelled_BJ: Tensor) -> Tensor:
    """Distances (B, J) over the longer side of the box around the person's labelled keypoints."""
    labelled = labelled_BJ[..., None] > 0
    high = true_BJ2.masked_fill(~labelled, -torch.inf).amax(dim=1)
    low = true_BJ2.masked_fill(~labelled, torch.inf).amin(dim=1)
    span = (high - low).amax(dim=-1, keepdim=True).clamp_min(1e-6)
    relative: Tensor = (predicted_BJ2 - true_BJ2).norm(dim=-1) / span
    return relative


def standard_error(hit_BJ: Tensor, counted_BJ: Tensor) -> float:
    """Standard error of the share of hits, whose keypoints depend on each other within a person (ratio estimator).

    NaN for a single person.
    """
    people = len(hit_BJ)
    total = counted_BJ.sum().clamp_min(1)
    residual = (hit_BJ & counted_BJ).sum(dim=1) - _share(hit_BJ, counted_BJ) * counted_BJ.sum(dim=1)
    unbiased = people / (people - 1) if people > 1 else math.nan
    return float((unbiased * residual.square().sum()).sqrt() / total)


def _share(hit: Tensor, counted: Tensor) -> float:
    return float((hit & counted).sum() / counted.sum().clamp_min(1))
