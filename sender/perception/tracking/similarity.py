"""Similarity of two observations of people, in appearance and in pose: whether they may show one person.

Shapes: R body regions, K keypoints.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from common.arrays import BoolArray, FloatArray
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput

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
