"""Frames to learn from and to judge by: composed of crops over backgrounds, or boxes judged by eye.

A person who is truncated in the crop is placed at the frame's border.  Patches of other pictures with blurred outlines
are pasted too, so that the edge of a cut-out does not identify a person.

What somebody has seen in the boxes that detector and perception propose in held-back photographs.

Annotations of photographs leave out many people, and box statues and posters.  Each line of `data/judged_boxes.tsv` is
a refined proposal, and what a vision-language model saw in it, shown as a cell of a contact sheet without annotation:

    person      one person, at least head and upper body, or all that is visible of somebody who is hidden in part
    fragment    a hand or an arm of somebody, or somebody far smaller than the box
    several     people, none of whom the box is about
    likeness    a statue, a doll, a drawing, a person on a screen
    nobody      an animal, a thing, a place
    unclear     too dark or too blurred to tell
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou

from common.arrays import BoolArray, ByteArray, FloatArray, Image
from common.synthetic.dataset import Split
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.backgrounds import BackgroundBank, degrade, power_law_noise, texture
from sender.perception.detect import Detector
from sender.train.photographs.dataset import Photograph, read_table

Generator = np.random.Generator
Owner = npt.NDArray[np.int16]
"""Number of the person (N, N) to whom each pixel belongs, −1 for nobody."""

# A person is annotated if at least this share of the pixels is visible and the box is this high.
_MIN_VISIBLE_SHARE = 0.35
_MIN_HEIGHT_PX = 14
_CROPS_PER_READ = 96
# Share of the frames whose people are in a group.
_GROUP_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame with its people; boxes in pixels.

    Args:
        image: (H, W, 3).
        boxes: (n, 4) of the people to find.
        ignored: (m, 4) that are neither people nor background.
        nobody: (k, 4) in which nobody is, while nothing is known outside of all boxes; None where nobody is outside of
            `boxes`.
    """

    image: Image
    boxes: FloatArray
    ignored: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    nobody: FloatArray | None = None


FrameSource = Callable[[], Frame]
"""Draws a frame at random."""


@dataclass(frozen=True, slots=True)
class CutOut:
    """A person, cut out along the mask to its box.

    Args:
        colour: (h, w, 3).
        alpha: (h, w) 0…1.
        truncated: (4,) whether the person is truncated at the crop's left, top, right, bottom border.
    """

    colour: FloatArray
    alpha: FloatArray
    truncated: BoolArray


def cut_out(image: ByteArray, mask: ByteArray) -> CutOut | None:
    """The person of a crop; None if fewer than 12 rows or 6 columns of the mask are occupied."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) < 12 or len(columns) < 6:
        return None
    where = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    size = len(mask)
    truncated = np.array([columns[0] == 0, rows[0] == 0, columns[-1] == size - 1, rows[-1] == size - 1])
    return CutOut(image[where].astype(np.float32), mask[where].astype(np.float32) / 255.0, truncated)


class FrameComposer:
    """Composes frames at random.

    Args:
        datasets: crops to take people from, each data set equally often.
        backgrounds: number of backgrounds to make first.
        places: draws photographs (N, N, 3) with nobody in them, the background of half of the frames.
    """

    def __init__(
        self,
        datasets: Sequence[CropDataset],
        rng: Generator,
        size: int,
        backgrounds: int = 120,
        places: Callable[[], Image] | None = None,
    ) -> None:
        self._datasets = tuple(datasets)
        self._rng = rng
        self._size = size
        self._backgrounds = BackgroundBank(rng, backgrounds, size)
        self._places = places
        self._people: list[CutOut] = []

    def frame(self) -> tuple[ByteArray, FloatArray]:
        """An image (N, N, 3) and its people's boxes (n, 4) in pixels."""
        rng, size = self._rng, self._size
        if self._places and rng.random() < 0.5:
            image = self._places().astype(np.float32)
        else:
            image = self._backgrounds.draw(rng, size, size)
        owner = self._clutter(image)
        count = int(rng.choice(6, p=[0.12, 0.36, 0.2, 0.13, 0.1, 0.09]))
        heights = np.sort(size * np.exp(rng.uniform(np.log(0.1), np.log(1.15), count)))
        # A group: people of about the same height, side by side.
        centre_x = float(rng.uniform(0.1, 0.5)) * size if rng.random() < _GROUP_SHARE else None
        if centre_x is not None:
            heights = heights[:1] * rng.uniform(0.8, 1.2, count)
        areas = []
        for index, height in enumerate(heights):
            areas.append(self._add_person(image, owner, index, float(height), centre_x))
            if centre_x is not None:
                centre_x += float(height * rng.uniform(0.18, 0.5))
            if rng.random() < 0.1:
                self._add_patch(image, owner)
        self._letterbox(image, owner)
        visible = [owner == index for index in range(count)]
        boxes = [_box(own) for own, area in zip(visible, areas, strict=True) if own.sum() > _MIN_VISIBLE_SHARE * area]
        tall = [box for box in boxes if box[3] - box[1] >= _MIN_HEIGHT_PX]
        return degrade(rng, image), np.array(tall, dtype=np.float32).reshape(-1, 4)

    def negative(self) -> ByteArray:
        """A crop (N, N, 3) of a background with patches, and nobody."""
        image = self._backgrounds.draw(self._rng, self._size, self._size)
        self._clutter(image)
        return degrade(self._rng, image)

    def _clutter(self, image: FloatArray) -> Owner:
        """Pastes up to five patches; returns to whom the pixels belong: to nobody."""
        owner = np.full((self._size, self._size), -1, np.int16)
        for _ in range(self._rng.integers(0, 6)):
            self._add_patch(image, owner)
        return owner

    def _person(self) -> CutOut:
        while not self._people:
            for dataset in self._datasets:
                wanted = np.sort(self._rng.choice(len(dataset), _CROPS_PER_READ // len(self._datasets)))
                crops = dataset.batch(wanted, ("image", "mask"))
                cuts = [cut_out(image, mask) for image, mask in zip(crops["image"], crops["mask"], strict=True)]
                self._people += [cut for cut in cuts if cut is not None]
            self._rng.shuffle(self._people)
        return self._people.pop()

    def _add_person(self, image: FloatArray, owner: Owner, index: int, height: float, centre_x: float | None) -> int:
        """Pastes a person, at column `centre_x` or anywhere; returns their area in pixels before occlusion."""
        rng, person = self._rng, self._person()
        scale = height / max(person.alpha.shape)
        shape = max(2, round(person.alpha.shape[1] * scale)), max(2, round(person.alpha.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        colour, alpha = cv2.resize(person.colour, shape, interpolation=method), cv2.resize(person.alpha, shape)
        truncated = person.truncated
        if rng.random() < 0.5:
            colour, alpha, truncated = colour[:, ::-1], alpha[:, ::-1], truncated[[2, 1, 0, 3]]
        alpha = cv2.GaussianBlur(np.ascontiguousarray(alpha), (0, 0), float(rng.uniform(0.3, 1.0)) * max(1.0, scale))
        left, top = self._place(shape, truncated)
        if centre_x is not None:
            left = round(centre_x - shape[0] / 2)
        return paste(image, owner, index, colour, alpha, left, top)

    def _place(self, shape: tuple[int, int], truncated: BoolArray) -> tuple[int, int]:
        """Left and top of a cut-out of (width, height): anywhere, or at the border where it is truncated."""
        corner = []
        for axis in (0, 1):
            room = self._size - shape[axis]
            at = float(self._rng.uniform(-0.15 * shape[axis], room + 0.15 * shape[axis]))
            if room > 0 and self._rng.random() < 0.8:
                at = float(self._rng.uniform(0, room))
            if self._rng.random() < 0.85:
                at = room if truncated[axis + 2] else (0 if truncated[axis] else at)
            corner.append(round(at))
        return corner[0], corner[1]

    def _add_patch(self, image: FloatArray, owner: Owner) -> None:
        """Pastes a blob of some texture or of another background; it occludes the people in `owner`."""
        rng = self._rng
        height, width = (int(value) for value in self._size * np.exp(rng.uniform(np.log(0.08), np.log(0.6), 2)))
        side = max(height, width, 8)
        alpha: npt.NDArray[Any] = (power_law_noise(rng, side, 1.8)[..., 0] > rng.uniform(-1, 0.3)).astype(np.float32)
        if rng.random() < 0.5:
            alpha = np.zeros((side, side), np.float32)
            cv2.ellipse(alpha, (side // 2, side // 2), (side // 2, side // 2), 0, 0, 360, 1.0, -1)
        alpha = cv2.resize(alpha, (max(width, 2), max(height, 2)))
        alpha = cv2.GaussianBlur(alpha, (0, 0), float(rng.uniform(0.3, 1.0)))
        plain = rng.random() < 0.5
        fill = texture(rng, side) if plain else self._backgrounds.draw(rng, side, side)
        colour = cv2.resize(np.ascontiguousarray(fill, np.float32), (alpha.shape[1], alpha.shape[0]))
        left, top = (int(rng.uniform(-extent / 2, self._size - extent / 2)) for extent in alpha.shape[::-1])
        paste(image, owner, -1, colour, alpha, left, top)

    def _letterbox(self, image: FloatArray, owner: Owner) -> None:
        """Adds the grey bars of `letterboxed` to 70 % of the frames, as for pictures that are not square."""
        if self._rng.random() < 0.3:
            return
        bar = int(self._size * self._rng.uniform(0.08, 0.24))
        barred = self._rng.random() < 0.75
        for part in (slice(0, bar), slice(self._size - bar, self._size)):
            where = (part, slice(None)) if barred else (slice(None), part)
            image[where], owner[where] = 114.0, -1


def paste(
    image: FloatArray, owner: Owner, index: int, colour: npt.NDArray[Any], alpha: npt.NDArray[Any], left: int, top: int
) -> int:
    """Pastes a cut-out over an image, in place, and marks its pixels in `owner`; returns its area."""
    size_y, size_x = image.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(size_x, left + alpha.shape[1]), min(size_y, top + alpha.shape[0])
    if x0 < x1 and y0 < y1:
        there, inside = (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        image[there] += alpha[inside][..., None] * (colour[inside] - image[there])
        owner[there][alpha[inside] > 0.5] = index
    return int((alpha > 0.5).sum())


def _box(mask: BoolArray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def composed_frames(
    data: Sequence[Path], split: Split, size: int, rng: Generator, places: Callable[[], Image] | None = None
) -> FrameSource:
    """Composed frames, with people from each of the data sets equally often; `places` as in `FrameComposer`."""
    composer = FrameComposer([CropDataset([directory], split) for directory in data], rng, size, places=places)
    return lambda: Frame(*composer.frame())


_IOU = 0.5
# A proposal with more than this share of its area in a crowd's box is not counted as false.
_IN_CROWD = 0.5
# Height from which people are counted.
_LEAST_HEIGHT_PX = 80


def proposal_scores(detector: Detector, photographs: Iterable[Photograph]) -> dict[str, float]:
    """Share of people at least 80 pixels high who are proposed, its standard error, and other proposals a picture."""
    proposed, others = list[bool](), list[int]()
    for item in photographs:
        found = np.array([each.box for each in detector.find(item.image)], np.float32).reshape(-1, 4)
        overlaps = box_iou(torch.from_numpy(found), torch.from_numpy(item.boxes)).numpy() >= _IOU
        tall = item.boxes[:, 3] - item.boxes[:, 1] >= _LEAST_HEIGHT_PX
        proposed += overlaps.any(axis=0)[tall].tolist()
        others.append(int((~overlaps.any(axis=1) & ~in_crowd(found, item.crowds)).sum()))
    share, count = float(np.mean(proposed or [False])), max(len(proposed), 1)
    scores = {"found": share, "found_standard_error": (share * (1 - share) / count) ** 0.5, "others": np.mean(others)}
    return {f"people_{name}": round(float(value), 4) for name, value in scores.items()}


def in_crowd(found_d4: FloatArray, crowds_m4: FloatArray) -> BoolArray:
    """(d,) detections of which more than half lies in a crowd's box."""
    return np.asarray((shares_inside(found_d4, crowds_m4) > _IN_CROWD).any(axis=1))


def shares_inside(found_d4: FloatArray, boxes_m4: FloatArray) -> FloatArray:
    """(d, m) share of each detection's area that lies in each box."""
    low = np.maximum(found_d4[:, None, :2], boxes_m4[None, :, :2])
    high = np.minimum(found_d4[:, None, 2:], boxes_m4[None, :, 2:])
    area = (found_d4[:, 2:] - found_d4[:, :2]).prod(axis=1).clip(1e-6)
    return np.asarray((high - low).clip(0).prod(axis=2) / area[:, None], np.float32)


_JUDGED = Path(__file__).parents[1] / "data" / "judged_boxes.tsv"
# What shows a person, nobody, and neither.
_KINDS = ("person",), ("nobody", "likeness", "fragment"), ("several", "unclear")

Judged = Mapping[str, list[list[float]]]
"""What is shown → boxes: left, top, right, bottom in 0…1 of the photograph's sides."""


@cache
def judged_boxes() -> Mapping[str, Judged]:
    """All judgements, by name of the photograph."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for row in read_table(_JUDGED):
        box = [float(row[side]) for side in ("left", "top", "right", "bottom")]
        found.setdefault(row["photograph"], {}).setdefault(row["shows"], []).append(box)
    return found


def judged_frame(item: Photograph) -> Frame:
    """A photograph with its judged boxes; with its annotated ones, outside of which nobody is, if it has none."""
    judged = judged_boxes().get(item.name)
    if judged is None:
        return Frame(item.image, item.boxes, item.crowds)
    height, width = item.image.shape[:2]
    people, nobody, neither = (
        np.array([box for kind in kinds for box in judged.get(kind, ())], np.float32).reshape(-1, 4)
        * np.array([width, height, width, height], np.float32)
        for kinds in _KINDS
    )
    return Frame(item.image, people, neither, nobody=nobody)
