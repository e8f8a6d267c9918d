"""Similarity of two poses in the image: people with nearly the same box may have different poses.

The criterion of pose-based non-maximum suppression (Papandreou et al., "Towards accurate multi-person pose estimation
in the wild", 2017), instead of the overlap of boxes.  Shapes: K keypoints.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from common.arrays import BoolArray, FloatArray
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput

# Two poses are compared only if at least this many keypoints are located in both.
_MIN_COMMON_KEYPOINTS = 6
# Two poses are one person's if the median distance of their keypoints is below this share of the smaller one's size.
_MAX_MEDIAN_DISTANCE = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class ImagePose:
    """The keypoints of one person in the frame.

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
        size = min(float(np.ptp(pose.keypoints[pose.located], axis=0).max()) for pose in (self, other))
        distances = np.linalg.norm(self.keypoints - other.keypoints, axis=1)
        return float(np.median(distances[common])) < _MAX_MEDIAN_DISTANCE * size
