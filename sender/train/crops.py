"""Training on crops: batches with their truth, the losses of all tasks, and scores.

Shapes: B crops, S side, J = 17 keypoints, R = 22 joints, P regions.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.body.anatomy import MIRROR_SIGNS, MIRRORED_KEYPOINTS, MIRRORED_PARTS
from common.body.model import BodyParameters, KeypointKinematics, axis_angle_to_matrix, rotation_6d_to_matrix
from common.tensor_rows import TensorRows
from common.training.run import on_device
from common.weights.devices import device_of, fast_autocast
from sender.perception.heads import cell_centres
from sender.perception.perception_network import PerceptionOutput
from sender.perception.predictor import as_bytes, resized, unit
from sender.train.photographs.crops import PhotographCrops

# Crop units: outside of the crop, also when it is mirrored.
_OUTSIDE = -9.0


@dataclass(frozen=True, slots=True)
class CropBatch(TensorRows):
    """Crops and their ground truth, rendered by `common.synthetic`; metres, crop units, in the crop's camera.

    Args:
        image: (B, 3, S, S) 0…1, channels last in memory; bytes before `ready`, which travel to a GPU faster.
        mask: (B, S/2, S/2) 0…1, the visible part of the person.
        depth: (B, S/2, S/2) relative to the pelvis; 0 outside of the mask; float16 before `ready`.
        part: (B, S/2, S/2) int64, 0 for the background, otherwise 1 + region; bytes before `ready`.
        keypoints_2d: (B, J, 2), may lie outside of 0…1.
        visible: (B, J) 0 or 1.
        joints_3d: (B, J, 3) camera space.
        translation: (B, 3) of the pelvis in camera space.
        rotations: (B, R, 3, 3) local.
        curl: (B, 4).
        shape: (B, 10).
        extent: (B,) metres that the crop spans at the distance of the pelvis.
        person: (B,) bool, False for negative crops, whose pose, shape and camera are undefined.
    """

    image: Tensor
    mask: Tensor
    depth: Tensor
    part: Tensor
    keypoints_2d: Tensor
    visible: Tensor
    joints_3d: Tensor
    translation: Tensor
    rotations: Tensor
    curl: Tensor
    shape: Tensor
    extent: Tensor
    person: Tensor

    @property
    def relative_joints(self) -> Tensor:
        """(B, J, 3) joints relative to the pelvis."""
        return self.joints_3d - self.translation[:, None]

    @property
    def labelled(self) -> Tensor:
        """(B, J) 1 where a keypoint has a place: everywhere, in negative crops outside."""
        return torch.ones_like(self.visible)

    # How much `visible` is worth.
    judged = labelled

    @property
    def camera(self) -> Tensor:
        """(B, 3): u, v of the pelvis in the crop, log of the extent (pinhole camera: z / focal = extent)."""
        centre = self.translation[:, :2] / self.extent[:, None] + 0.5
        return torch.cat([centre, self.extent.log()[:, None]], dim=1)

    def resized(self, side: int) -> Self:
        """The crops, not `ready`, resampled to `side` pixels with their maps; depth and parts are not interpolated."""
        cells = (side // 2, side // 2)
        if self.image.shape[-1] == side:
            return self
        return replace(
            self,
            image=resized(self.image, side).contiguous(memory_format=torch.channels_last),
            mask=resized(self.mask[:, None], cells[0])[:, 0],
            depth=functional.interpolate(self.depth[:, None], cells)[:, 0],
            part=functional.interpolate(self.part[:, None].to(torch.uint8), cells)[:, 0],
        )

    def ready(self) -> Self:
        """The crops as the losses take them."""
        return replace(self, image=unit(self.image), depth=self.depth.float(), part=self.part.long())

    def parameters(self) -> BodyParameters:
        """The bodies with the pelvis at the origin."""
        return BodyParameters(self.rotations, self.curl, self.shape, torch.zeros_like(self.translation))


def true_parameters(arrays: Mapping[str, npt.NDArray[Any]]) -> BodyParameters:
    """The true bodies of a `CropDataset` batch, in the crop's camera."""
    names = "rotation_vectors", "curl", "shape", "translation"
    vectors, *rest = (torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)) for name in names)
    return BodyParameters(axis_angle_to_matrix(vectors), *rest)


def crop_batch(arrays: Mapping[str, npt.NDArray[Any]]) -> CropBatch:
    """Tensors from the arrays of a `CropDataset` batch, not `ready`."""

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.float32))

    mask, body = tensor("mask") / 255.0, true_parameters(arrays)
    return CropBatch(
        image=as_bytes(np.asarray(arrays["image"], np.uint8)),
        mask=torch.nn.functional.avg_pool2d(mask[:, None], 2)[:, 0],
        depth=torch.from_numpy(np.asarray(arrays["depth"], np.float16)),
        part=torch.from_numpy(np.asarray(arrays["part"], np.uint8)),
        keypoints_2d=tensor("keypoints_2d"),
        visible=tensor("visible"),
        joints_3d=tensor("joints_3d"),
        translation=body.translation,
        rotations=body.rotations,
        curl=body.curl,
        shape=body.shape,
        extent=tensor("extent"),
        person=torch.ones(len(mask), dtype=torch.bool),
    )


def with_negatives(batch: CropBatch, negative_B: Tensor, image_B3SS: Tensor) -> CropBatch:
    """The batch with some of its crops replaced by negative ones, which show no person.

    Args:
        negative_B: bool, which of them to replace.
        image_B3SS: images of the negative crops, as those of the batch; the other rows are not read.
    """
    map_B11 = negative_B[:, None, None]
    return replace(
        batch,
        image=torch.where(map_B11[:, None], image_B3SS, batch.image),
        **{name: getattr(batch, name).masked_fill(map_B11, 0) for name in ("mask", "depth", "part")},
        keypoints_2d=batch.keypoints_2d.masked_fill(map_B11, _OUTSIDE),
        visible=batch.visible.masked_fill(negative_B[:, None], 0.0),
        person=batch.person & ~negative_B,
    )


def mirror(batch: CropBatch) -> CropBatch:
    """Every crop mirrored left to right, with its ground truth."""
    flip, parts = batch.joints_3d.new_tensor(MIRROR_SIGNS), batch.part.new_tensor(MIRRORED_PARTS)
    body = BodyParameters(batch.rotations, batch.curl, batch.shape, batch.translation).mirrored()
    keypoints = batch.keypoints_2d[:, MIRRORED_KEYPOINTS].clone()
    keypoints[..., 0] = 1.0 - keypoints[..., 0]
    return replace(
        batch,
        image=batch.image.flip(-1),
        mask=batch.mask.flip(-1),
        depth=batch.depth.flip(-1),
        part=parts[batch.part.flip(-1)],
        keypoints_2d=keypoints,
        visible=batch.visible[:, MIRRORED_KEYPOINTS],
        joints_3d=batch.joints_3d[:, MIRRORED_KEYPOINTS] * flip,
        translation=body.translation,
        rotations=body.rotations,
        curl=body.curl,
    )


def randomly_mirrored(batch: CropBatch) -> CropBatch:
    """Half of the crops mirrored, at random.

    Mirroring whole batches instead of crops makes consecutive gradients of the 3D heads contradict each other.
    """
    chosen = torch.rand(len(batch), device=batch.image.device) < 0.5
    pairs = zip(mirror(batch).columns(), batch.columns(), strict=True)
    return CropBatch(*(torch.where(chosen.view(-1, *[1] * (own.ndim - 1)), other, own) for other, own in pairs))


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
