"""Which pixels of one frame show one person, and which body region each of them shows."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from common.arrays import FloatArray, IntArray
from sender.perception.crop import CropBox
from sender.perception.output import PerceptionOutput

# Side of the mask of the crop, to which the network's is enlarged.
_MASK_SIZE_PX = 192
# Sides of the kernels that erode the mask.  A cell of the mask is 3 pixels wide: the first third of a cell within the
# outline is ignored, and the second, where masks are often wrong, gets less weight.  More is not ignored, because only
# the outline shows the sides of arms and legs.
_IGNORED_KERNEL_PX, _UNCERTAIN_KERNEL_PX = 3, 5
_UNCERTAIN_WEIGHT = 0.25
# A pixel gives no colour to regions of a lower probability.
_MIN_REGION_PROBABILITY = 0.35
_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One person in one frame; image positions in crop units, 0…1.

    Args:
        crop: the part of the frame.
        mask_weight: (S, S) weight of each pixel, 0…1: 1 on the person, less near the outline, 0 on the background.
        regions: (R, s, s) probability of each body region, 0…1; 0 where it is below `_MIN_REGION_PROBABILITY`.
    """

    crop: CropBox
    mask_weight: FloatArray
    regions: FloatArray

    @classmethod
    def from_output(cls, crop: CropBox, output: PerceptionOutput) -> Self:
        """From perception's output in `crop`."""
        probability = output.part_logits[0].float().softmax(dim=0)[1:].numpy()
        regions = np.where(probability >= _MIN_REGION_PROBABILITY, probability, 0).astype(np.float32)
        weight = mask_weight(output.mask_logits[0].float().numpy())
        return cls(crop, weight, regions)

    def weight_at(self, pixels: FloatArray, region: IntArray) -> FloatArray:
        """(N,) weight of (N, 2) pixels of the frame as observations of the regions (N,), 0…1."""
        # A region extends one cell into its neighbours, whose border is not known better than that.
        regions = np.stack([cv2.dilate(one, _NEIGHBOURS) for one in self.regions])
        positions = self.crop.to_units(pixels)
        x, y = _cells(positions, regions.shape[-1])
        column, row = _cells(positions, len(self.mask_weight))
        weight = self.mask_weight[row, column] * regions[region, y, x]
        # Much faster than `all` along the short axis.
        across, down = ((positions >= 0) & (positions < 1)).T
        return np.where(across & down, weight, 0).astype(np.float32)


def mask_weight(logits: FloatArray) -> FloatArray:
    """(S, S) weights, 0…1, from mask logits (s, s)."""
    mask = cv2.resize(logits, (_MASK_SIZE_PX, _MASK_SIZE_PX), interpolation=cv2.INTER_LINEAR) > 0
    # `erode` takes the outside of the crop for person, so that a person who is cut off has no outline at the border.
    not_ignored, certain = (
        cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8))
        for side in (_IGNORED_KERNEL_PX, _UNCERTAIN_KERNEL_PX)
    )
    return np.where(certain, 1, not_ignored * _UNCERTAIN_WEIGHT).astype(np.float32)


def _cells(positions: FloatArray, size: int) -> IntArray:
    """(2, N) column and row of the cells of a size × size grid that contain (N, 2) positions, 0…1."""
    return np.clip(np.floor(positions * size), 0, size - 1).astype(np.int64).T
