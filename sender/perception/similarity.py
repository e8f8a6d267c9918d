"""Whether two observations may show one person: geometry of boxes, similarity of poses and of appearances.

Boxes are (4,) left, top, right, bottom in pixels.

Shapes: R body regions, K keypoints.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from common.arrays import BoolArray, Box, FloatArray
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput

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
