"""What one frame shows of one person: the square around it, small, and which body region each of its places shows."""

from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import FloatArray, Image, IntArray
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput

# A pixel is then about half of what lies between two surface points, and cutting averages over it.
_PICTURE_SIZE = 192
# Of the mask's outline, a third of its cell is never looked at, and another third, where masks often err, with less
# trust: the sides of arms and legs are seen nowhere else.
_NEVER, _LESS = 3, 5
_LESS_TRUST = 0.25
# A place that more likely shows another limb tells nothing of this one.
_LEAST_LIKELY = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One person in one frame; places in crop units, 0…1.

    Args:
        crop: where in the frame.
        picture: (S, S, 3) uint8 RGB.
        inside: (S, S) how much to trust that it is the person, 0…1; less at its outline, for the background is near.
        regions: (R, s, s) how likely each place shows each body region, 0…1; 0 where another is likelier by far.
    """

    crop: CropBox
    picture: Image
    inside: FloatArray
    regions: FloatArray

    @classmethod
    def of(cls, image: Image, crop: CropBox, output: PerceptionOutput) -> "Observation":
        """Cut from a frame (H, W, 3), with what perception saw there."""
        likely = output.part_logits[0].float().softmax(dim=0)[1:].numpy()
        regions = np.where(likely >= _LEAST_LIKELY, likely, 0).astype(np.float32)
        return cls(crop, crop.cut(image, _PICTURE_SIZE), within(output.mask_logits[0].float().numpy()), regions)

    def colours_at(self, pixels: FloatArray) -> FloatArray:
        """(N, 3) RGB 0…255 at (N, 2) pixels of the frame."""
        return _sample(self.picture, self._places(pixels)).astype(np.float32)

    def certainty_at(self, pixels: FloatArray, region: IntArray) -> FloatArray:
        """(N,) how much to trust that (N, 2) pixels of the frame show the regions (N,), 0…1."""
        places = self._places(pixels)
        x, y = _cells(places, self.regions.shape[-1])
        column, row = _cells(places, len(self.inside))
        likely = self.inside[row, column] * self.regions[region, y, x]
        return np.where(((places >= 0) & (places < 1)).all(axis=1), likely, 0).astype(np.float32)

    def _places(self, pixels: FloatArray) -> FloatArray:
        return np.asarray((pixels - [self.crop.left, self.crop.top]) / self.crop.side, np.float32)


def within(logits: FloatArray) -> FloatArray:
    """(S, S) how much to trust that a mask (s, s) of logits is the person, 0…1."""
    fine = cv2.resize(logits, (_PICTURE_SIZE, _PICTURE_SIZE), interpolation=cv2.INTER_LINEAR) > 0
    # What lies beyond the crop counts as person: a crop cuts people off, which is no outline.
    most, all_of_it = (cv2.erode(fine.astype(np.uint8), np.ones((side, side), np.uint8)) for side in (_NEVER, _LESS))
    return np.where(all_of_it, 1, most * _LESS_TRUST).astype(np.float32)


def _cells(places: FloatArray, size: int) -> IntArray:
    """(2, N) column and row of the cells of a square of so many that (N, 2) places fall into."""
    return np.clip(np.floor(places * size), 0, size - 1).astype(np.int64).T


def _sample(image: Image, places: FloatArray) -> FloatArray:
    """(N, C) bilinear samples at (N, 2) places, 0…1."""
    at = np.asarray(places * [image.shape[1], image.shape[0]] - 0.5, np.float32)
    return np.asarray(
        cv2.remap(image, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0], np.float32
    )
