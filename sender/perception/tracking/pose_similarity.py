"""Where somebody's keypoints are in the frame: two people may have nearly one box, but not one pose.

What non-maximum suppression of poses goes by, instead of overlapping boxes (Papandreou et al., "Towards accurate
multi-person pose estimation in the wild", 2017).  Shapes: K keypoints.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, FloatArray
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput

# Keypoints that must be in sight of both for a comparison.
_ENOUGH = 6
# Half of them lie closer together than this share of the smaller person, if they are one person's.
_SAME = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class ImagePose:
    """Keypoints of one person.

    Args:
        places: (K, 2) pixels of the frame.
        seen: (K,) which of them are in sight, and sharply.
    """

    places: FloatArray
    seen: BoolArray

    @classmethod
    def of(cls, output: PerceptionOutput, crop: CropBox) -> "ImagePose":
        """Of one person, a batch of one, seen in `crop`."""
        return cls(crop.to_pixels(output.keypoints_2d[0].float().numpy()), output.sharp[0].numpy())

    def same(self, other: "ImagePose") -> bool:
        """Whether both are one person's, as far as can be seen; a part of somebody has the whole one's pose."""
        both = self.seen & other.seen
        if both.sum() < _ENOUGH:
            return False
        size = min(float(np.ptp(one.places[one.seen], axis=0).max()) for one in (self, other))
        return float(np.median(np.linalg.norm(self.places - other.places, axis=1)[both])) < _SAME * size
