"""Crops to train perception on, from photographs with keypoints: turned, scaled, moved and mirrored with them.

The ground truth is in the image only: where the labelled keypoints lie, and which of them are visible.  Some crops are
of places where the detector proposes somebody, and nobody is: no keypoint is visible there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import BoolArray, Box, FloatArray, Image
from common.body.anatomy import COCO_KEYPOINTS
from common.synthetic.scene.backgrounds import degrade
from common.tensor_rows import TensorRows
from sender.perception.crop import CROP_MARGIN, CropBox
from sender.perception.predictor import as_bytes, unit
from sender.train.augment import Framing, cover, covered, moved, patch, perspective, warped
from sender.train.photographs.dataset import PSEUDO, Photograph, PhotographDataset, Source

Generator = np.random.Generator


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
