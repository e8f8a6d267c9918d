"""Crops to learn from, with their truth: rendered ones, and those of photographs; and scores of what is seen in them.

Crops of photographs are turned, scaled, moved and mirrored with their keypoints.  Their truth is in the image only:
where the labelled keypoints lie, and which of them are visible.  Some are of places where the detector proposes
somebody, and nobody is: no keypoint is visible there.

Shapes: B crops, S side, J = 17 keypoints, R = 22 joints, P regions.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import BoolArray, Box, FloatArray, Image
from common.body.anatomy import COCO_KEYPOINTS, MIRROR_SIGNS, MIRRORED_KEYPOINTS, MIRRORED_PARTS
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.synthetic.scene.backgrounds import degrade
from common.tensor_rows import TensorRows
from common.training.run import on_device
from common.weights.devices import device_of, fast_autocast
from sender.perception.crop import CROP_MARGIN, CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.predictor import as_bytes, resized, unit
from sender.train.augment import Framing, cover, covered, moved, patch, perspective, warped
from sender.train.photographs.dataset import PSEUDO, Photograph, PhotographDataset, Source

# The true proportions of `openimages` are unknown.
_FRAMING = Framing(turn=math.radians(26), turned=0.6, log_scale=0.3, shift=0.08, log_aspect=0.3)
# Share of the crops around the upper or the lower half of the keypoints, as for people cut off by the picture.
_HALF_SHARE = 0.2
_MIN_HALF_KEYPOINTS = 5
_OCCLUDED_SHARE = 0.45
# Share of the crops that show nobody, of folders in which such places are known.
_NOBODY_SHARE = 0.12
# Share of the occluders that are a piece of another photograph instead of one colour.
_PICTURED_SHARE = 0.6
# Worth of a keypoint without annotation for what is visible, where most others have one.
_UNLABELLED_WEIGHT = 0.3
# Sources with keypoints, `openimages` by `sender.train.photographs.pseudo_keypoints`.
_SOURCES: tuple[Source, ...] = ("people", "openimages")
# Label of the keypoints where nobody is: no position, and not visible.
ABSENT = -1
# People with fewer labelled keypoints or a smaller box are not trained on.
_MIN_LABELLED, _MIN_SIDE_PX = 4, 32
_CROPS_AT_ONCE = 32
# Standard deviation of a jittered box's position and log of its size, over its longer side.
_JITTER = 0.05
_UPPER = np.array([not name.endswith(("knee", "ankle")) for name in COCO_KEYPOINTS])
_LOWER = np.array([name.endswith(("hip", "knee", "ankle")) for name in COCO_KEYPOINTS])


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
    same = {name: tensor(name) for name in ("keypoints_2d", "visible", "joints_3d", "extent")}
    return CropBatch(
        image=as_bytes(np.asarray(arrays["image"], np.uint8)),
        mask=functional.avg_pool2d(mask[:, None], 2)[:, 0],
        depth=torch.from_numpy(np.asarray(arrays["depth"], np.float16)),
        part=torch.from_numpy(np.asarray(arrays["part"], np.uint8)),
        **{name: getattr(body, name) for name in ("translation", "rotations", "curl", "shape")},
        **same,
        person=mask.flatten(1).any(dim=1),
    )


def mirror(batch: CropBatch) -> CropBatch:
    """Every crop mirrored left to right, with its ground truth."""
    signs, parts = batch.joints_3d.new_tensor(MIRROR_SIGNS), batch.part.new_tensor(MIRRORED_PARTS)
    body = BodyParameters(batch.rotations, batch.curl, batch.shape, batch.translation).mirrored()
    return replace(
        batch,
        **{name: getattr(batch, name).flip(-1) for name in ("image", "mask", "depth")},
        part=parts[batch.part.flip(-1)],
        # The axis x of crop units is mirrored about the middle.
        keypoints_2d=batch.keypoints_2d.new_tensor([1, 0]) + signs[:2] * batch.keypoints_2d[:, MIRRORED_KEYPOINTS],
        visible=batch.visible[:, MIRRORED_KEYPOINTS],
        joints_3d=batch.joints_3d[:, MIRRORED_KEYPOINTS] * signs,
        **{name: getattr(body, name) for name in ("translation", "rotations", "curl")},
    )


def randomly_mirrored(batch: CropBatch) -> CropBatch:
    """Half of the crops mirrored, at random.

    Mirroring whole batches instead of crops makes consecutive gradients of the 3D heads contradict each other.
    """
    chosen = torch.rand(len(batch), device=batch.image.device) < 0.5
    pairs = zip(mirror(batch).columns(), batch.columns(), strict=True)
    return CropBatch(*(torch.where(chosen.view(-1, *[1] * (own.ndim - 1)), other, own) for other, own in pairs))


@dataclass(frozen=True, slots=True)
class PhotographCrops(TensorRows):
    """Crops of photographs with the labelled keypoints of one person each; positions in crop units.

    Args:
        image: (B, 3, S, S) 0…1, channels last in memory; bytes before `ready`.
        keypoints_2d: (B, 17, 2), may lie outside of 0…1.
        labelled: (B, 17) 1 where the keypoint has a position, else 0.
        visible: (B, 17) 1 where it is labelled, in the crop and not hidden.
        judged: (B, 17) how much `visible` is worth: 1 where somebody has judged it, less where the keypoint has no
            position although most others have, because it is not visible then, else 0; 1 where nobody is.
    """

    image: Tensor
    keypoints_2d: Tensor
    labelled: Tensor
    visible: Tensor
    judged: Tensor

    def ready(self) -> Self:
        """The crops as the losses take them."""
        return replace(self, image=unit(self.image))


def people_of(
    photographs: PhotographDataset, labelled: int = _MIN_LABELLED, source: Source = "people"
) -> list[tuple[int, int]]:
    """(photograph, person) of everybody in a source with enough labelled keypoints and a large enough box."""
    found = []
    for index in photographs.indices(source):
        item = photographs[index]
        sides = (item.boxes[:, 2:] - item.boxes[:, :2]).max(axis=1)
        enough = (item.keypoints[..., 2] > 0).sum(axis=1) >= labelled
        found += [(index, int(person)) for person in np.flatnonzero(enough & (sides >= _MIN_SIDE_PX))]
    return found


def people_in_boxes(
    photographs: PhotographDataset, views: int, rng: Generator | None = None, *, exact: bool = False
) -> Iterator[tuple[Photograph, int, Box, int]]:
    """Everybody with at least three labelled keypoints in jittered boxes: photograph, person, box, index.

    Args:
        views: boxes of each person.
        rng: of the jitter; by default of seed 0.
        exact: whether the first box is the annotated one.
    """
    rng = rng or np.random.default_rng(0)
    for index, person in people_of(photographs, labelled=3):
        item = photographs[index]
        annotated = item.keypoints[person]
        if np.ptp(annotated[annotated[:, 2] > 0, :2], axis=0).any():
            for number in range(views):
                own = exact and number == 0
                yield item, person, item.boxes[person] if own else jittered(rng, item.boxes[person]), index


def jittered(rng: Generator, box: Box) -> Box:
    """A box (4,) moved and scaled a little."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    centre = centre + rng.normal(0, _JITTER, 2) * 2 * half.max()
    half = half * np.exp(rng.normal(0, _JITTER, 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def places_of_nobody(photographs: PhotographDataset) -> list[tuple[int, int]]:
    """(photograph, place) of every place where nobody is."""
    return [(index, place) for index in range(len(photographs)) for place in range(len(photographs[index].nobody))]


def half_box(rng: Generator, keypoints_J3: FloatArray) -> FloatArray:
    """The box (4,) around the labelled keypoints of the upper or lower half of the body, with a margin.

    All of them are taken if the half has too few.
    """
    labelled = keypoints_J3[:, 2] > 0
    half = labelled & (_UPPER if rng.random() < 0.65 else _LOWER)
    points = keypoints_J3[half if half.sum() >= _MIN_HALF_KEYPOINTS else labelled, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * float((high - low).max())
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def panorama_view(rng: Generator, photographs: PhotographDataset, size: int) -> Image:
    """A view (N, N, 3) of a panorama, in which there is nobody, in a random direction; mirrored at random."""
    panorama = photographs[int(rng.choice(photographs.indices("panoramas")))].image
    yaw, pitch, roll = rng.uniform(-np.pi, np.pi), rng.normal(-0.05, 0.25), rng.normal(0, 0.08)
    image = perspective(panorama, float(yaw), float(pitch), float(roll), rng.uniform(0.8, 1.9), size)
    return image[:, ::-1] if rng.random() < 0.5 else image


class PhotographCropSampler:
    """Draws crops of people in photographs at random, of each source and each of its people equally often."""

    def __init__(self, photographs: PhotographDataset, rng: Generator, size: int) -> None:
        self._photographs = photographs
        sources = [people_of(photographs, source=source) for source in _SOURCES]
        self._sources = [people for people in sources if people]
        self._nobody = places_of_nobody(photographs)
        self._rng = rng
        self._size = size

    def crop(self) -> tuple[Image, FloatArray, BoolArray]:
        """A crop (S, S, 3), its keypoints (17, 3) in crop units with labels, and which of them are occluded (17,)."""
        rng, size = self._rng, self._size
        item, box, places = self._drawn()
        if rng.random() < _HALF_SHARE and places[:, 2].max() > 0:
            box = half_box(rng, places)
        side = CROP_MARGIN * float((box[2:] - box[:2]).max())
        matrix, mirrored = _FRAMING.drawn(rng, (box[:2] + box[2:]) / 2, side, size)
        keypoints = moved(places, matrix, mirrored, size)
        image = warped(item.image, matrix, size, border=0).astype(np.float32)
        occluded = np.zeros(len(keypoints), np.bool_)
        if rng.random() < _OCCLUDED_SHARE:
            corners = patch(rng, 0.12, 0.4)
            cover(image, *corners, self._piece() if rng.random() < _PICTURED_SHARE else rng.uniform(0, 255, 3))
            occluded = covered(keypoints[:, :2], *corners)
        return degrade(rng, image), keypoints, occluded

    def _drawn(self) -> tuple[Photograph, FloatArray, FloatArray]:
        """A photograph, a box (4,) in it, and the keypoints (17, 3) of whom it shows, `ABSENT` where it is nobody."""
        rng = self._rng
        if self._nobody and rng.random() < _NOBODY_SHARE:
            index, place = self._nobody[rng.integers(len(self._nobody))]
            item = self._photographs[index]
            return item, item.nobody[place], np.full((len(COCO_KEYPOINTS), 3), ABSENT, np.float32)
        people = self._sources[rng.integers(len(self._sources))]
        index, person = people[rng.integers(len(people))]
        item = self._photographs[index]
        return item, item.boxes[person], item.keypoints[person]

    def _piece(self) -> Image:
        """A random piece (h, w, 3) of any photograph, which may show somebody's limbs."""
        rng, image = self._rng, self._photographs[int(self._rng.integers(len(self._photographs)))].image
        extent = (rng.uniform(0.1, 0.5, 2) * image.shape[:2]).astype(int) + 1
        top, left = rng.integers(0, np.array(image.shape[:2]) - extent + 1)
        return image[top : top + extent[0], left : left + extent[1]]

    def batches(self, count: int) -> Iterator[PhotographCrops]:
        """Endless batches of `count` crops."""
        while True:
            images, keypoints, occluded = zip(*(self.crop() for _ in range(count)), strict=True)
            yield crops_of(np.stack(images), np.stack(keypoints), np.stack(occluded))


def crops_of(images: Image, keypoints_BJ3: FloatArray, occluded_BJ: BoolArray) -> PhotographCrops:
    """Tensors of crops (B, S, S, 3), keypoints with labels, and which of them are occluded; not `ready`."""
    places, label = keypoints_BJ3[..., :2], keypoints_BJ3[..., 2]
    labelled, absent = label > 0, label == ABSENT
    inside = ((places >= 0) & (places <= 1)).all(axis=-1)
    judged = labelled & (label != PSEUDO)
    mostly = judged.sum(axis=1, keepdims=True) >= 8
    return PhotographCrops(
        as_bytes(images),
        torch.from_numpy(np.ascontiguousarray(places)),
        torch.from_numpy(labelled).float(),
        torch.from_numpy((label == 2) & inside & ~occluded_BJ).float(),
        torch.from_numpy(judged + absent + _UNLABELLED_WEIGHT * (~labelled & mostly)).float(),
    )


def crops_in_boxes(photographs: PhotographDataset, size: int, margin: float = CROP_MARGIN) -> Iterator[PhotographCrops]:
    """Every person with at least three labelled keypoints, cut out around the annotated box as in use.

    Args:
        margin: side of the crop over the longer side of the box.
    """
    people = [(photographs[index], person) for index, person in people_of(photographs, labelled=3)]
    for start in range(0, len(people), _CROPS_AT_ONCE):
        cuts = [_cut(item, person, size, margin) for item, person in people[start : start + _CROPS_AT_ONCE]]
        keypoints = np.stack([keypoints for _, keypoints in cuts])
        crops = crops_of(np.stack([image for image, _ in cuts]), keypoints, np.zeros(keypoints.shape[:2], np.bool_))
        yield crops.ready()


def _cut(item: Photograph, person: int, size: int, margin: float) -> tuple[Image, FloatArray]:
    crop = CropBox.around(item.boxes[person], margin)
    keypoints = item.keypoints[person].copy()
    keypoints[:, :2] = crop.to_units(keypoints[:, :2])
    return crop.cut(item.image, size), keypoints


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
