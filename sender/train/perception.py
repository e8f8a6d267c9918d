"""Trains perception (paper §3.1) on rendered crops of people and on photographs: keypoints, pose, depth and mask.

Half of each batch are photographs (of `sender.train.photographs.dataset`), which teach keypoints, visibility and, by
reprojection, 3D joints and pose; the rendered half teaches depth, mask and parts too.

Shards that are still being rendered are picked up as they are finished.

--export also scores the network on the validation split, as it is used (with flip augmentation), and writes the
package's weights.

Examples:
  python -m sender.train.perception --data dressed everyday --photographs photographs --out runs/mixed --shipped
  python -m sender.train.perception --data dressed everyday --photographs photographs --out runs/mixed --resume --export
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Image
from common.body.model import BodyModel, BodyParameters, KeypointKinematics, rotation_6d_to_matrix
from common.synthetic.render_shards import Batch, CropDataset
from common.synthetic.scene.backgrounds import expose
from common.training.recipe import Defaults, Progress, Recipe
from common.training.run import main
from common.weights.devices import device_of, fast_autocast
from common.weights.loader import load_recorded
from common.weights.manifest import read_manifest
from common.weights.transformer import DropPath
from sender.perception.heads import cell_centres
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import KIND, WEIGHTS_NAME, Mirror, mean, with_peaks
from sender.train.augment import FrameComposer, before_place, cover, covered, patch
from sender.train.crops import (
    CropBatch,
    PhotographCrops,
    PhotographCropSampler,
    crop_batch,
    crops_in_boxes,
    intersection_over_union,
    keypoint_scores,
    outputs,
    panorama_view,
    randomly_mirrored,
)
from sender.train.photographs.dataset import PhotographDataset

# Crops drawn before the shards are listed again.
_CROPS_PER_LISTING = 16_384
# Share of negative crops, which show no person.
_NEGATIVE_SHARE = 0.08
# Share of photographs in a batch.
_PHOTOGRAPH_SHARE = 0.5
# Shares of its rendered people who are placed before a view of a panorama, and who are hidden in part.
_PLACED_SHARE, _OCCLUDED_SHARE = 0.4, 0.3

# Crop units: outside of the crop, also when it is mirrored.
_OUTSIDE = -9.0
HEAT_SIGMA_CELLS = 1.2
# Reprojected keypoints farther away than this (crop units) have a constant gradient direction only; nearer ones are
# within the error of weak perspective.
_REPROJECTION_BETA = 0.02
# Mask logits from which a cell may be the person.
_CANDIDATES = torch.linspace(-1.5, 1.5, 25)

Crops = tuple[CropBatch, PhotographCrops]
Terms = dict[str, Tensor]
"""Terms of a loss, by name."""


class FlipAugmentation(nn.Module):
    """Crops (B, 3, S, S), 0…1 RGB → `PerceptionOutput` of B crops, from 2 B passes of the network."""

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self.net, self.mirror = net, Mirror().to(device_of(net))

    def forward(self, image_B3SS: Tensor) -> PerceptionOutput:
        both = mean([self.net(image_B3SS), self.mirror(self.net(image_B3SS.flip(-1)))])
        return with_peaks(both, self.net.keypoints.sharpness)


class PerceptionTraining(Recipe[PerceptionNet, Crops]):
    """The losses of all heads, on rendered crops and photographs."""

    name, kind, precision = WEIGHTS_NAME, KIND, "bf16"
    defaults = Defaults(60.0, batch=32, rate=8e-4, seed=0, threads=2, largest_norm=2.0, evaluate_minutes=6.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
        add("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
        sides = "sides of the crops, one for each batch: of streams, and of photographs (the network's)"
        add("--size", type=int, nargs="+", help=sides)
        add("--drop-path", type=float, default=0.0, help="probability that a block is left out (%(default)g)")

    def prepare(self) -> PerceptionNet:
        options = self.options
        shipped = load_recorded(WEIGHTS_NAME, KIND, PerceptionConfig, PerceptionNet) if options.shipped else None
        config = shipped.config if shipped else PerceptionConfig()
        sizes = options.size or [config.size, *([config.still_size] if config.still_size else [])]
        config = replace(config, size=sizes[0], still_size=sizes[1] if len(sizes) > 1 else 0)
        if self.recorded:
            config = PerceptionConfig(**self.recorded["config"])
        seen = int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"]) if shipped else 0
        self.facts = {"config": asdict(config), "sizes": sizes, "before": seen, "shipped": options.shipped}
        self.facts["crops"] = len(CropDataset(options.data, "train"))
        self._kinematics = KeypointKinematics(BodyModel.load()).to(self.device)
        net = PerceptionNet(config)
        if shipped:
            net.load_state_dict(shipped.state_dict())
        for block in net.blocks:
            for place in ("drop_path1", "drop_path2"):
                setattr(block, place, DropPath(options.drop_path))
        return net.to(memory_format=torch.channels_last)

    @property
    def _size(self) -> int:
        return int(self.facts["config"]["size"])

    def optimisers(self, network: PerceptionNet) -> Sequence[torch.optim.Optimizer]:
        """AdamW without weight decay on vectors (norms, biases, encodings)."""
        matrices = [p for p in network.parameters() if p.ndim >= 2 and p.shape[0] > 1]
        vectors = [p for p in network.parameters() if p.ndim < 2 or p.shape[0] <= 1]
        groups = [{"params": matrices, "weight_decay": 0.03}, {"params": vectors, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, lr=self.options.rate, betas=(0.9, 0.98), fused=True)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Crops]:
        photographs, real = PhotographDataset(self.options.photographs, "train"), round(count * _PHOTOGRAPH_SHARE)
        sources = []
        for size in self.facts["sizes"]:
            rendered = training_batches(self.options.data, count - real, rng, size, photographs)
            sources.append(zip(rendered, PhotographCropSampler(photographs, rng, size).batches(real), strict=False))
        while True:
            yield next(sources[rng.integers(len(sources))])

    def step(self, network: PerceptionNet, batch: Crops) -> tuple[Tensor, Mapping[str, Tensor]]:
        crops, people = batch
        return mixed_loss(self._kinematics, network, randomly_mirrored(crops.ready()), people.ready())

    def evaluate(self, network: PerceptionNet) -> dict[str, float]:
        return self._scores(network, limit=512)

    def final_scores(self, network: PerceptionNet) -> dict[str, float]:
        """As it is used, with flip augmentation."""
        return self._scores(FlipAugmentation(network), limit=1024)

    def _scores(self, net: nn.Module, limit: int) -> dict[str, float]:
        """Of the validation splits: `limit` rendered crops, and photographs."""
        scores = evaluate(net, validation_batches(self.options.data, self._size, limit=limit), self._kinematics)
        photographs = PhotographDataset(self.options.photographs, "val")
        seen = outputs(net, crops_in_boxes(photographs, self._size))
        return scores | keypoint_scores((output.keypoints_2d, truth) for output, truth in seen)

    def finish(self, network: PerceptionNet) -> None:
        """Calibrates the exported network's mask."""
        if self.options.export:
            validation = validation_batches(self.options.data, self._size)
            threshold = best_mask_threshold(FlipAugmentation(network), validation)
            shift_mask_threshold(network, threshold)
            self.facts["mask_border"] = round(threshold, 3)

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        return super().manifest_recipe(progress) | {"images_seen": self.facts["before"] + progress.samples}


def training_batches(
    data: Sequence[Path], size: int, rng: np.random.Generator, side: int, photographs: PhotographDataset
) -> Iterator[CropBatch]:
    """Endless batches, not `ready`; new shards are used as soon as they are finished.

    Args:
        rng: of their order, of the changes of their pictures and of the negative crops.
        side: pixels of a crop.
        photographs: with panoramas, before which some of the people are placed.
    """
    dataset = CropDataset(data, "train")
    composer = FrameComposer([], rng, dataset.side)
    while True:
        order = rng.permutation(len(dataset))[:_CROPS_PER_LISTING]
        for start in range(0, len(order) - size + 1, size):
            arrays = dataset.batch(np.sort(order[start : start + size]))
            for row in np.flatnonzero(rng.random(size) < _PLACED_SHARE).tolist():
                view = panorama_view(rng, photographs, dataset.side)
                arrays["image"][row] = before_place(arrays["image"][row], arrays["mask"][row], view)
            for row in range(size):
                arrays["image"][row] = np.clip(expose(rng, arrays["image"][row]), 0, 255)
                if rng.random() < _OCCLUDED_SHARE:
                    occlude(rng, arrays, row)
                if rng.random() < _NEGATIVE_SHARE:
                    empty(arrays, row, composer.negative())
            yield crop_batch(arrays).resized(side)
        dataset = CropDataset(data, "train")


def occlude(rng: Generator, arrays: Batch, row: int) -> None:
    """Covers a rectangle of a rendered crop with one colour, in place, and what is known of it."""
    corners = patch(rng, 0.12, 0.45)
    cover(arrays["image"][row], *corners, rng.uniform(0, 255, 3))
    for name in ("mask", "depth", "part"):
        cover(arrays[name][row], *corners, 0)
    arrays["visible"][row] *= ~covered(arrays["keypoints_2d"][row], *corners)


def empty(arrays: Batch, row: int, image: Image) -> None:
    """Replaces a rendered crop by one that shows no person, in place."""
    arrays["image"][row], arrays["keypoints_2d"][row] = image, _OUTSIDE
    for name in ("visible", "mask", "depth", "part"):
        arrays[name][row] = 0


def validation_batches(data: Sequence[Path], side: int, size: int = 64, limit: int = 1024) -> Iterator[CropBatch]:
    """The first `limit` crops of the validation split, a multiple of `size`, resampled to `side` pixels, `ready`."""
    for arrays in islice(CropDataset(data, "val").batches(size), limit // size):
        yield crop_batch(arrays).resized(side).ready()


def mixed_loss(
    kinematics: KeypointKinematics, net: nn.Module, crops: CropBatch, people: PhotographCrops
) -> tuple[Tensor, Terms]:
    """The loss of one forward pass over rendered crops and photographs, weighted by their shares, and its terms."""
    images = torch.cat([crops.image, people.image])
    with fast_autocast(images.device.type):
        output = net(images.contiguous(memory_format=torch.channels_last))
    loss, terms = multi_task_loss(output[: len(crops)], crops, kinematics)
    real = keypoint_terms(output[len(crops) :], people, kinematics)
    share = len(people) / len(images)
    total = 2 * ((1 - share) * loss + share * torch.stack(list(real.values())).sum())
    return total, terms | {f"photographs.{name}": term for name, term in real.items()}


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


@torch.no_grad()
def evaluate(net: nn.Module, batches: Iterable[CropBatch], kinematics: KeypointKinematics) -> dict[str, float]:
    """Mean scores of people in rendered crops, with units in the names; `joints` are of the keypoints head."""
    people: dict[str, list[Tensor]] = defaultdict(list)
    for output, truth in outputs(net, batches):
        matrices, origin = rotation_6d_to_matrix(output.rotations_6d), torch.zeros_like(truth.translation)
        posed, _ = kinematics(BodyParameters(matrices, output.curl, output.shape, origin))
        mask, true = truth.mask > 0.5, truth.relative_joints
        depth_error = ((output.depth - truth.depth).abs() * mask).sum(dim=(-2, -1))
        people["mpjpe_joints_mm"].append(1000.0 * (output.joints_3d - true).norm(dim=-1).mean(dim=-1))
        people["mpjpe_pose_mm"].append(1000.0 * (posed - true).norm(dim=-1).mean(dim=-1))
        people["mask_iou"].append(intersection_over_union(output.mask_logits > 0, mask))
        people["depth_mm"].append(1000.0 * depth_error / mask.sum(dim=(-2, -1)).clamp_min(1))
    return {name: round(float(torch.cat(each).mean()), 4) for name, each in people.items()}


@torch.no_grad()
def best_mask_threshold(net: nn.Module, batches: Iterable[CropBatch]) -> float:
    """The mask logit from which a cell is the person that gives the largest mean IoU.

    A mask head trained on overlap draws uncertain masks too large.

    Args:
        net: returns a `PerceptionOutput`.
        batches: crops that it was not trained on.
    """
    total = torch.zeros(len(_CANDIDATES), device=device_of(net))
    for output, truth in outputs(net, batches):
        person, logits = truth.mask > 0.5, output.mask_logits
        total += torch.stack([intersection_over_union(logits > threshold, person).sum() for threshold in _CANDIDATES])
    return float(_CANDIDATES[total.argmax()])


@torch.no_grad()
def shift_mask_threshold(net: PerceptionNet, threshold: float) -> None:
    """Subtracts `threshold` from the mask logits, in place; the part logits stay."""
    bias = net.mask.read.bias
    assert bias is not None
    # The first output of the sub-pixel convolution is four channels wide.
    bias[:4] -= threshold


if __name__ == "__main__":
    raise SystemExit(main(PerceptionTraining))
