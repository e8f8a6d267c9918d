"""Perception's scores, with units: for the training log and the manifest."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.body.anatomy import COCO_KEYPOINTS
from common.body.model import BodyParameters, KeypointKinematics
from common.body.rotations import rotation_6d_to_matrix
from common.training.run import on_device
from common.weights.devices import device_of, fast_autocast
from sender.perception.network.output import PerceptionOutput
from sender.train.crops.batches import CropBatch
from sender.train.photographs.crops import PhotographCrops


def joint_errors_mm(predicted_BJ3: Tensor, true_BJ3: Tensor) -> Tensor:
    """(B,) mean distance over each person's joints, millimetres; MPJPE if both are relative to the pelvis."""
    distance: Tensor = (predicted_BJ3 - true_BJ3).norm(dim=-1)
    return distance.mean(dim=-1) * 1000.0


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


def keypoints_within(predicted_BJ2: Tensor, truth: CropBatch, share: float) -> tuple[float, float]:
    """Numbers of visible keypoints within `share` of the longer side of the person's box, and of visible keypoints."""
    visible = truth.visible > 0
    points = truth.keypoints_2d
    span = (points.amax(dim=1) - points.amin(dim=1)).amax(dim=-1, keepdim=True)
    hit = (predicted_BJ2 - points).norm(dim=-1) <= share * span
    return float((hit & visible).sum()), float(visible.sum())


@dataclass(slots=True)
class Sums:
    """Running sums over a data set; `heat` is of the keypoints head, `pose` of the pose head."""

    people: float = 0.0
    mpjpe_heat: float = 0.0
    mpjpe_pose: float = 0.0
    pa_heat: float = 0.0
    pa_pose: float = 0.0
    iou: float = 0.0
    depth: float = 0.0
    hits_10: float = 0.0
    hits_05: float = 0.0
    visible: float = 0.0

    def add(self, output: PerceptionOutput, truth: CropBatch, kinematics: KeypointKinematics) -> None:
        matrices = rotation_6d_to_matrix(output.rotations_6d)
        origin = torch.zeros_like(truth.translation)
        posed, _ = kinematics(BodyParameters(matrices, output.curl, output.shape, origin))
        true_mask = truth.mask > 0.5
        self.people += len(truth)
        self.mpjpe_heat += joint_errors_mm(output.joints_3d, truth.relative_joints).sum().item()
        self.mpjpe_pose += joint_errors_mm(posed, truth.relative_joints).sum().item()
        self.pa_heat += joint_errors_mm(procrustes(output.joints_3d, truth.joints_3d), truth.joints_3d).sum().item()
        self.pa_pose += joint_errors_mm(procrustes(posed, truth.joints_3d), truth.joints_3d).sum().item()
        self.iou += intersection_over_union(output.mask_logits > 0, true_mask).sum().item()
        error = ((output.depth - truth.depth).abs() * true_mask).sum(dim=(-2, -1))
        self.depth += (error / true_mask.sum(dim=(-2, -1)).clamp_min(1)).sum().item() * 1000.0
        self.hits_10 += keypoints_within(output.keypoints_2d, truth, 0.10)[0]
        hits, visible = keypoints_within(output.keypoints_2d, truth, 0.05)
        self.hits_05 += hits
        self.visible += visible

    def scores(self) -> dict[str, float]:
        """Means by name, with units in the names."""
        means = {
            "mpjpe_joints_mm": self.mpjpe_heat,
            "mpjpe_pose_mm": self.mpjpe_pose,
            "pa_mpjpe_joints_mm": self.pa_heat,
            "pa_mpjpe_pose_mm": self.pa_pose,
            "mask_iou": self.iou,
            "depth_mm": self.depth,
        }
        scores = {name: value / max(self.people, 1.0) for name, value in means.items()}
        visible = max(self.visible, 1.0)
        scores["pck10"], scores["pck05"] = self.hits_10 / visible, self.hits_05 / visible
        return {name: round(value, 4) for name, value in scores.items()}


@torch.no_grad()
def evaluate(net: nn.Module, batches: Iterable[CropBatch], kinematics: KeypointKinematics) -> dict[str, float]:
    """Scores of `net` over crops."""
    sums = Sums()
    for output, truth in _outputs(net, batches):
        sums.add(output, truth, kinematics)
    return sums.scores()


def _outputs(net: nn.Module, batches: Iterable[CropBatch]) -> Iterator[tuple[PerceptionOutput, CropBatch]]:
    net.eval()
    device = device_of(net)
    for crops in batches:
        truth = on_device(crops, device)
        with fast_autocast(device.type):
            output = net(truth.image)
        yield output, truth


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
        errors.append(relative_errors(output.keypoints_2d, truth.keypoints_2d, truth.labelled))
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


def relative_errors(predicted_BJ2: Tensor, true_BJ2: Tensor, labelled_BJ: Tensor) -> Tensor:
    """Distances (B, J) over the longer side of the box around the person's labelled keypoints."""
    labelled = labelled_BJ[..., None] > 0
    high = true_BJ2.masked_fill(~labelled, -torch.inf).amax(dim=1)
    low = true_BJ2.masked_fill(~labelled, torch.inf).amin(dim=1)
    span = (high - low).amax(dim=-1, keepdim=True).clamp_min(1e-6)
    relative: Tensor = (predicted_BJ2 - true_BJ2).norm(dim=-1) / span
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
