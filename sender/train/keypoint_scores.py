"""Perception's scores on photographs: keypoints of people in their annotated boxes, and calibration of visibility."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from common.body.anatomy import COCO_KEYPOINTS
from common.training.run import on_device
from common.weights.devices import device_of, fast_autocast
from sender.train.photograph_crops import PhotographCrops

_SHARES = (0.05, 0.1, 0.2)
_JOINTS = ("eye", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_CALIBRATION_BINS = 10


@torch.no_grad()
def keypoint_scores(net: nn.Module, batches: Iterable[PhotographCrops]) -> dict[str, float]:
    """PCK of all labelled keypoints, of each joint, and how well the probability of visibility is calibrated."""
    net.eval()
    errors, labelled, probability, visible = [], [], [], []
    device = device_of(net)
    for crops in batches:
        truth = on_device(crops, device)
        with fast_autocast(device.type):
            output = net(truth.image)
        errors.append(relative_errors(output.keypoints_2d, truth))
        labelled.append(truth.labelled > 0)
        probability.append(output.visible_logit.float().sigmoid())
        visible.append(truth.visible)
    error, counted = torch.cat(errors), torch.cat(labelled)
    scores = {f"photographs_pck{100 * share:02.0f}": _share(error <= share, counted) for share in _SHARES}
    scores["photographs_pck10_standard_error"] = standard_error(error <= 0.1, counted)
    for joint in _JOINTS:
        columns = [index for index, name in enumerate(COCO_KEYPOINTS) if name.endswith(joint)]
        scores[f"photographs_pck10_{joint}"] = _share(error[:, columns] <= 0.1, counted[:, columns])
    known, seen = torch.cat(probability)[counted], torch.cat(visible)[counted]
    scores["photographs_visible_brier"] = float((known - seen).square().mean())
    scores["photographs_visible_calibration_error"] = calibration_error(known, seen)
    scores["photographs_people"] = len(error)
    return {name: round(value, 4) for name, value in scores.items()}


def relative_errors(predicted_BJ2: Tensor, truth: PhotographCrops) -> Tensor:
    """Distances (B, J) over the longer side of the box around the person's labelled keypoints."""
    labelled = truth.labelled[..., None] > 0
    high = truth.keypoints_2d.masked_fill(~labelled, -torch.inf).amax(dim=1)
    low = truth.keypoints_2d.masked_fill(~labelled, torch.inf).amin(dim=1)
    span = (high - low).amax(dim=-1, keepdim=True).clamp_min(1e-6)
    relative: Tensor = (predicted_BJ2 - truth.keypoints_2d).norm(dim=-1) / span
    return relative


def calibration_error(probability_N: Tensor, outcome_N: Tensor) -> float:
    """Expected calibration error: |mean probability − frequency| over ten bins, weighted by their counts."""
    bins = (probability_N * _CALIBRATION_BINS).long().clamp_max(_CALIBRATION_BINS - 1)
    total = probability_N.new_zeros(_CALIBRATION_BINS).index_add(0, bins, probability_N - outcome_N)
    return float(total.abs().sum() / max(len(probability_N), 1))


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
