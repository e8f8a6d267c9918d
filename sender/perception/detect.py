"""Detection: where people may be in a frame, by NanoDet, which frames are searched, and who is the same person.

    schedule ─ frame, letterboxed ─ NanoDet ─ non-maximum suppression ─ proposals

The layers are those of NanoDet-g (RangiLyu), whose weights were converted: batch norms are folded into convolutions,
and of 80 classes people alone are computed.

    image ─ stem ─ stages ─ 8 ─┐   top-down, bottom-up
                            16 ├── sums of neighbours ── heads ── score, and the distances of a box's sides
                            32 ┘

Distances are means of eleven bins (Li et al., *Generalized focal loss*, 2020).

Shapes: B pictures, H and W their height and width, C = H·W·(1/8² + 1/16² + 1/32²) cells of all strides, N boxes
(left, top, right, bottom, pixels); R body regions, K keypoints.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import Any, Final, Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import BoolArray, Box, Float64Array, FloatArray, Image
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import later
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from common.weights.threads import side_by_side
from sender.perception.crop import CropBox, rolled_axes
from sender.perception.perception_network import PerceptionOutput

STRIDES: Final = (8, 16, 32)
_SLOPE = 0.1
_BINS = 11
# Of red, green and blue; the network was trained with blue first, which its first layer's weights no longer are.
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class NanoDetConfig:
    """Sizes of the network, as the manifest records them.

    Args:
        size: longer side of a picture in pixels, a multiple of 32.
        width: channels of the stem.
        pyramid: channels of all strides after the stages.
    """

    size: int = 416
    width: int = 32
    pyramid: int = 128

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % STRIDES[-1] or min(self.width, self.pyramid) < 1:
            raise ValueError(f"pictures must be a multiple of 32 pixels large, widths positive: {asdict(self)}")


def _convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.LeakyReLU(_SLOPE))


class _Part(nn.Module):
    """Of the channels, half go through one convolution, half through two."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inputs, channels), _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat([self.second(first), first], dim=1)


class _Stage(nn.Module):
    """(B, inputs, H, W) → (B, 2 inputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, stride: int, parts: int) -> None:
        super().__init__()
        self.enter = _convolution(inputs, inputs, stride)
        self.parts = nn.Sequential(*(_Part(inputs, inputs // 2) for _ in range(parts)))
        self.leave = _convolution(inputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.parts(x)), x], dim=1)


class NanoDetNet(nn.Module):
    """Pictures (B, H, W, 3) RGB, bytes or 0…255 → logits (B, C) of people and their boxes (B, C, 4), pixels."""

    def __init__(self, config: NanoDetConfig) -> None:
        super().__init__()
        self.config = config
        # Computed, not stored; where the network is, for a GPU.
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION), persistent=False)
        c, p = config.width, config.pyramid
        self.stem = _convolution(3, c, 2)
        self.stages = nn.ModuleList(
            _Stage(c << number, 2 if number else 1, parts) for number, parts in enumerate((1, 2, 2, 3))
        )
        self.reduce = nn.ModuleList(nn.Conv2d(c << number, p, 1) for number in (2, 3, 4))
        self.heads = nn.ModuleList(nn.Sequential(_convolution(p, p), nn.Conv2d(p, 1 + 4 * _BINS, 1)) for _ in STRIDES)

    def forward(self, image_BHW3: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(((image_BHW3.float() - self.mean) / self.deviation).permute(0, 3, 1, 2))
        x, maps = functional.max_pool2d(x, 3, 2, 1), list[Tensor]()
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        eighth, sixteenth, last = (reduce(x) for reduce, x in zip(self.reduce, maps[1:], strict=True))
        sixteenth = sixteenth + _doubled(last)
        eighth = eighth + _doubled(sixteenth)
        sixteenth = sixteenth + functional.avg_pool2d(eighth, 2)
        last = last + functional.avg_pool2d(sixteenth, 2)
        found = (
            _of_cells(head(x), stride)
            for head, x, stride in zip(self.heads, (eighth, sixteenth, last), STRIDES, strict=True)
        )
        logits, boxes = zip(*found, strict=True)
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _of_cells(x_BFHW: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Logits and boxes of the cells of one stride."""
    height, width = x_BFHW.shape[2:]
    values = x_BFHW.float().flatten(2).transpose(1, 2)
    bins = torch.arange(_BINS, dtype=torch.float32, device=values.device)
    distances = stride * (values[..., 1:].unflatten(2, (4, _BINS)).softmax(dim=3) * bins).sum(dim=3)
    rows, columns = (torch.arange(length, dtype=torch.float32, device=values.device) for length in (height, width))
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    centres = stride * (torch.stack([column, row], dim=2).flatten(0, 1) + 0.5)
    return values[..., 0], torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=2)


# Two poses are compared only if at least this many keypoints are located in both.
_MIN_COMMON_KEYPOINTS = 4
# Two poses are one person's from this keypoint similarity on.
_SAME_PERSON = 0.5
# How far annotators place each keypoint apart, over the root of the person's area: COCO's.
_ANNOTATORS_SIGMA = np.repeat([0.026, 0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089], [1, *[2] * 8])
# Least area of a pose over the square of its longer side: upright limbs cover more than their keypoints' box.
_MIN_ASPECT = 0.25
# Two appearances are compared only if they share at least this area, as a share of the crop.
_MIN_COMMON_AREA = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class ImagePose:
    """The keypoints of one person in the frame: people with nearly the same box may have different poses.

    The criterion of pose-based non-maximum suppression (Papandreou et al., "Towards accurate multi-person pose
    estimation in the wild", 2017), COCO's object keypoint similarity, instead of the overlap of boxes.

    Args:
        keypoints: (K, 2) pixels of the frame.
        located: (K,) those that are visible and not ambiguous.
    """

    keypoints: FloatArray
    located: BoolArray

    @classmethod
    def from_output(cls, output: PerceptionOutput, crop: CropBox) -> Self:
        """From the output for one person (a batch of one) in `crop`."""
        return cls(crop.to_pixels(output.keypoints_2d[0].float().numpy()), output.located[0].numpy())

    def is_same_person(self, other: Self) -> bool:
        """Whether both poses are one person's, also if one shows only a part of them; False if too little is common."""
        common = self.located & other.located
        if common.sum() < _MIN_COMMON_KEYPOINTS:
            return False
        area = min(self._area(), other._area())
        squared = np.square(self.keypoints - other.keypoints).sum(axis=1) / area
        similarity = np.exp(-squared / (2 * np.square(2 * _ANNOTATORS_SIGMA)))
        return float(similarity[common].mean()) > _SAME_PERSON

    def _area(self) -> float:
        """Of the box around the located keypoints, square pixels."""
        extent = np.ptp(self.keypoints[self.located], axis=0)
        return max(float(extent.prod()), _MIN_ASPECT * float(extent.max()) ** 2, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The colours of one person's body regions, for re-identification and against identity switches.

    An appearance descriptor as in multi-object tracking (Wojke et al., "Simple online and realtime tracking with a deep
    association metric", 2017), but taken from perception's output.

    Args:
        colours: (R, 3) sRGB 0…1.
        area: (R,) share of the crop that each region covers; 0 where it is not visible.
    """

    colours: FloatArray
    area: FloatArray

    @classmethod
    def from_output(cls, output: PerceptionOutput) -> Self:
        """From the output for one person (a batch of one)."""
        return cls(output.region_colours[0].float().numpy(), output.region_area[0].float().square().numpy())

    def distance(self, other: Self) -> float | None:
        """Mean colour difference over the area visible in both, 0…1; None if that area is too small."""
        weight = np.minimum(self.area, other.area)
        if weight.sum() < _MIN_COMMON_AREA:
            return None
        return float(weight @ np.abs(self.colours - other.colours).mean(axis=1) / weight.sum())

    def blended(self, new: Self, rate: float) -> Self:
        """Moved towards `new` by `rate`, 0…1, each region in proportion to its visible area."""
        area = self.area + rate * (new.area - self.area)
        share = (rate * new.area / np.maximum(area, 1e-9))[:, None]
        colours = self.colours + share * (new.colours - self.colours)
        return replace(self, colours=colours.astype(np.float32), area=area.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A box that may show a person without a track: a proposal of the detector, or who was read there.

    Args:
        box: (4,) left, top, right, bottom in pixels of the frame.
        score: probability of a person, 0…1.
        appearance, image_pose: of who was read.
    """

    box: Box
    score: float
    appearance: Appearance | None = None
    image_pose: ImagePose | None = None


WEIGHTS_NAME = "nanodet"
KIND = "nanodet-1"
LETTERBOX_GREY = 114
_NMS_IOU = 0.6
# Cells that are compared, best first: several propose the same person.
_MOST_CELLS, _MOST_BOXES = 300, 50
# The shorter side over the longer one: each shape is a compiled network of its own.
_SHAPES: Final = (8 / 13, 10 / 13, 1.0)
_CELL_PX = 32
# Scales of a frame's look and of a photograph's second one, which finds smaller people.
_SCALES: Final = (1.0, 1.46)

# Log odds that a proposal shows a person: scale and offset of its log odds by the network, whose scores of clear people
# are .5 to .8.  Fitted to the photographs of training.
_SCALE, _OFFSET = 2.9, 0.7
PROPOSAL_SCORE = 0.077
"""Least score of a proposal: so low that few people are missed, because the verifier rejects most false ones."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame was turned and letterboxed.

    Args:
        size: width and height of the picture that it was put into.
        turn: (2, 3) pixels of that picture → pixels of the frame.
        scale: pixels of that picture over those of the frame.
    """

    size: tuple[int, int]
    turn: Float64Array
    scale: float

    def to_pixels(self, boxes_N4: Tensor) -> Tensor:
        """Boxes, 0…1 → pixels of the frame; they stay upright where the frame was turned, around their centres."""
        boxes = boxes_N4 * torch.tensor(2 * self.size)
        turn = torch.from_numpy(self.turn).to(boxes)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 @ turn[:, :2].T + turn[:, 2]
        half = (boxes[:, 2:] - boxes[:, :2]) / (2 * self.scale)
        return torch.cat([middle - half, middle + half], dim=1)


def letterboxed(image: Image, size: tuple[int, int], roll: float = 0.0) -> tuple[Image, Letterbox]:
    """A frame scaled into a grey picture, its aspect ratio kept.

    Args:
        size: width and height of the picture.
        roll: radians clockwise that the frame is turned back by.
    """
    height, width = image.shape[:2]
    axes = rolled_axes(roll)
    scale = float((size / (np.abs(axes) @ [width, height])).min())
    small_size = [max(1, round(length * scale)) for length in (width, height)]
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    # In whole pixels, so that a frame that is level is copied as it is.
    half = np.array(size) // 2
    middle = half - (size - np.array(small_size)) // 2
    to_small = np.concatenate([axes, (middle - axes @ half)[:, None]], axis=1)
    at_centres = to_small.copy()
    at_centres[:, 2] += axes.sum(axis=1) / 2 - 0.5
    flags, grey = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (LETTERBOX_GREY,) * 3
    picture = cv2.warpAffine(small, at_centres, size, flags=flags, borderValue=grey)
    return np.asarray(picture, np.uint8), Letterbox(size, to_small / scale, scale)


def unsuppressed(boxes_N4: Tensor, scores_N: Tensor, iou: float = _NMS_IOU) -> Tensor:
    """The rows of the boxes, best first, that overlap no better one by more than `iou`; the best ones are compared."""
    best = scores_N.argsort(descending=True)[:_MOST_CELLS]
    overlaps, kept = intersections_over_union(boxes_N4[best].numpy()) > iou, list[int]()
    for row in range(len(best)):
        if not overlaps[row, kept].any():
            kept.append(row)
    return best[kept]


class Detector:
    """Proposes boxes of people in a frame.

    Many proposals are false; `sender.perception.read` rejects those.

    Args:
        config: of the network.
        network: in use, for letterboxed frames of a height and a width.
    """

    def __init__(
        self,
        config: NanoDetConfig,
        network: Callable[[int, int], NetworkInUse],
        threshold: float = PROPOSAL_SCORE,
        device: torch.device = CPU,
    ) -> None:
        self.config, self.threshold = config, threshold
        self._network = cache(network)
        # A GPU takes one network after the other anyway, and would capture each shape.
        self._over: Any = side_by_side if device.type == "cpu" else starmap
        self._shapes: Sequence[float] = _SHAPES if device.type == "cpu" else (1.0,)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY, device: torch.device = CPU) -> Self:
        """The shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        entry = find_entry(WEIGHTS_NAME, directory)
        config, build = later(WEIGHTS_NAME, KIND, NanoDetConfig, NanoDetNet, directory)

        def network(height: int, width: int) -> NetworkInUse:
            example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
            return in_use(build, (example,), WEIGHTS_NAME, entry.precision, device, entry.int8, stored=entry)

        detector = cls(config, network, device=device)
        if device.type != "cpu":
            detector.prepare(1.0)
        return detector

    def prepare(self, aspect: float) -> None:
        """Loads what the first photograph of an aspect, width over height, would otherwise wait for."""
        for scale in _SCALES:
            self._network(*self._shape(scale, aspect))

    @torch.inference_mode()
    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        """Proposals in a frame (H, W, 3) uint8 RGB, highest score first; boxes are clipped to the frame.

        Args:
            roll: of the camera, radians clockwise in the frame.  The frame is turned back; the boxes stay upright.
            thorough: with a second look at a larger scale, which takes twice the time of the first.
        """
        scales = _SCALES if thorough else _SCALES[:1]
        at_scales = self._over(self._found, [(image, scale, roll) for scale in scales])
        boxes, scores = (torch.cat(parts) for parts in zip(*at_scales, strict=True))
        kept = unsuppressed(boxes, scores)[:_MOST_BOXES]
        limits = np.tile(np.array(image.shape[1::-1], np.float32), 2)
        clipped = boxes[kept].numpy().clip(0, limits)
        # At least one pixel wide and high.
        clipped[:, 2:] = np.maximum(clipped[:, 2:], clipped[:, :2] + 1)
        return tuple(Detection(box, score) for box, score in zip(clipped, scores[kept].tolist(), strict=True))

    @torch.inference_mode()
    def _found(self, image: Image, scale: float, roll: float) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) in pixels of the frame and scores (N,) at one scale, of all cells above the threshold."""
        # A turned frame has no shape of its own.
        height, width = self._shape(scale, 1.0 if roll else image.shape[1] / image.shape[0])
        picture, letterbox = letterboxed(image, (width, height), roll)
        logits, boxes = self._network(height, width)(torch.from_numpy(picture)[None])
        scores = (_SCALE * logits[0] + _OFFSET).sigmoid()
        likely = scores >= self.threshold
        return letterbox.to_pixels(boxes[0, likely] / torch.tensor([width, height] * 2)), scores[likely]

    def _shape(self, scale: float, aspect: float) -> tuple[int, int]:
        """Height and width, pixels, of the smallest letterboxed frame that frames of an aspect fill."""
        longer = _CELL_PX * round(scale * self.config.size / _CELL_PX)
        share = next(each for each in self._shapes if each >= min(aspect, 1 / aspect))
        shorter = _CELL_PX * round(share * longer / _CELL_PX)
        return (shorter, longer) if aspect >= 1 else (longer, shorter)


# Least time between searches, and between urgent ones, seconds.
_PAUSE_S, _URGENT_PAUSE_S = 0.29, 0.03
# Of so many searches of a scene in which nothing changes, one takes place.
_STILL = 4
# Cells of the longer side of the picture that changes are seen in; a cell averages the noise of its pixels away.
_CELLS = 64
# Least change of a cell's brightness, 0…255, and the least number of such cells.
_LEAST_CHANGE, _LEAST_CELLS = 8.0, 3
# Part of a box's size by which its person, or a shadow, may reach beyond it.
_MARGIN = 0.3


class SearchSchedule:
    """The schedule of a source."""

    def __init__(self) -> None:
        self._last_s, self._searched_s = 0.0, -math.inf
        self._left_out = 0
        self._scene: tuple[FloatArray, BoolArray] | None = None

    def searches(self, image: Image, boxes: Sequence[Box], now_s: float, *, urgent: bool = False) -> bool:
        """Whether the next frame (H, W, 3) is searched.

        Args:
            boxes: (x0, y0, x1, y1) of the people who are followed.
            now_s: since the source's first frame.
            urgent: somebody has just been lost, or a box may have drifted.
        """
        due = now_s - self._last_s >= _PAUSE_S
        if due:
            self._last_s = now_s
            if boxes and not self._changes(image, boxes) and self._left_out < _STILL - 1:
                self._left_out, due = self._left_out + 1, False
            else:
                self._left_out = 0
        # Frames that follow each other faster show the detector the same.
        if not due and (now_s - self._searched_s < _URGENT_PAUSE_S or (boxes and not urgent)):
            return False
        self._searched_s = now_s
        return True

    def _changes(self, image: Image, boxes: Sequence[Box]) -> bool:
        """Whether a frame differs, but for its brightness, from the one before where people's boxes are in neither."""
        scale = _CELLS / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).mean(2, dtype=np.float32)
        outside = np.ones(small.shape, np.bool_)
        for box in boxes:
            margin = _MARGIN * (box[2:] - box[:2])
            x0, y0 = np.maximum((box[:2] - margin) * scale, 0).astype(int)
            x1, y1 = np.ceil((box[2:] + margin) * scale).astype(int)
            outside[y0:y1, x0:x1] = False
        last, self._scene = self._scene, (small, outside)
        if last is None or last[0].shape != small.shape:
            return True
        difference = (small - last[0])[outside & last[1]]
        if not difference.size:
            return True
        return int((np.abs(difference - np.median(difference)) > _LEAST_CHANGE).sum()) >= _LEAST_CELLS


# Two boxes show one person from this intersection over union on, or from a lower one if nearly all of the smaller box
# lies in the larger.
_DUPLICATE_IOU = 0.8
_PART_IOU, _PART_COVERAGE = 0.3, 0.9
# A detection confirms a box from this intersection over union on, or if one contains this share of the other, which
# has at least this share of its area.
_CONFIRMED_IOU, _CONTAINED, _CONTAINED_AREA = 0.4, 0.8, 0.25
# How much less prominent a person at the border of the frame is than one at its centre.
_OFF_CENTRE_PENALTY = 0.7
# Share of the way to the new box that a track's box is left behind in so many seconds: steadiness against lag.
_BOX_LAG, _BOX_LAG_S = 0.4, 1 / 30
# A box that moves by a smaller share of its size is left where it is, because a jittering crop makes the joints jitter.
_BOX_DEAD_BAND = 0.04


def area(box: Box) -> float:
    """In square pixels; 0 for an inverted box."""
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


def intersection(first: Box, second: Box) -> float:
    """Area that two boxes have in common, square pixels."""
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(np.prod(np.maximum(size, 0)))


def intersection_over_union(first: Box, second: Box) -> float:
    """Of two boxes, 0…1."""
    common = intersection(first, second)
    return common / max(area(first) + area(second) - common, 1e-9)


def intersections_over_union(boxes_N4: FloatArray) -> FloatArray:
    """(N, N) of all pairs of boxes, 0…1."""
    size = np.minimum(boxes_N4[:, None, 2:], boxes_N4[:, 2:]) - np.maximum(boxes_N4[:, None, :2], boxes_N4[:, :2])
    common, areas = np.maximum(size, 0).prod(-1), np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2], 0).prod(-1)
    return np.asarray(common / np.maximum(areas[:, None] + areas - common, 1e-9))


def is_duplicate(first: Box, second: Box) -> bool:
    """Whether two boxes show one person: they are nearly equal, or one is a large part of the other (legs)."""
    iou = intersection_over_union(first, second)
    coverage = intersection(first, second) / max(min(area(first), area(second)), 1e-9)
    return iou > _DUPLICATE_IOU or (iou > _PART_IOU and coverage > _PART_COVERAGE)


def prominence(box: Box, score: float, width: int, height: int) -> float:
    """How prominent a person is in a frame of width × height: area × centrality × score."""
    off_centre = (box[:2] + box[2:]) / 2 / np.array([width, height]) - 0.5
    centrality = 1.0 - _OFF_CENTRE_PENALTY * min(1.0, 2.0 * float(np.abs(off_centre).max()))
    return area(box) / (width * height) * centrality * score


def confirms(detection: Box, box: Box) -> bool:
    """Whether a detection shows the person of a box: all of them, or a large part."""
    common = intersection(detection, box)
    small, large = sorted((area(detection), area(box)))
    if common >= _CONFIRMED_IOU * (small + large - common):
        return True
    return common >= _CONTAINED * small and small >= _CONTAINED_AREA * large


def box_gain(step_s: float) -> float:
    """Share of the way to its new box that a track's box moves between two frames."""
    return float(1 - _BOX_LAG ** (step_s / _BOX_LAG_S))


def smoothed_box(old: Box, new: Box, gain: float) -> Box:
    """The box of the next crop: `old` within the dead band, otherwise between `old` and `new`."""
    moved = float(np.abs(new - old).max()) / max(float((old[2:] - old[:2]).max()), 1.0)
    return old if moved < _BOX_DEAD_BAND else np.asarray(old + gain * (new - old), dtype=np.float32)
