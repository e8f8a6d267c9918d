"""What one frame shows of one person: the square around it, small, and which body region each of its places shows."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from sender.perception.crop import CropBox
from sender.perception.output import PerceptionOutput

FloatArray = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

# A pixel is then about half of what lies between two surface points, and cutting averages over it.
_PICTURE_SIZE = 192


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """One person in one frame; places in crop units, 0…1.

    Args:
        crop: where in the frame.
        picture: (S, S, 3) uint8 RGB.
        regions: (R, s, s) how likely each place shows each body region, 0…1; 0 off the person and on its outline.
    """

    crop: CropBox
    picture: Image
    regions: FloatArray

    @classmethod
    def of(cls, image: Image, crop: CropBox, output: PerceptionOutput) -> "Glimpse":
        """Cut from a frame (H, W, 3), with what perception saw there."""
        regions = shrunk(output.part_logits[0].softmax(dim=0)[1:], output.mask_logits[0] > 0)
        return cls(crop, crop.cut(image, _PICTURE_SIZE), regions)

    def colours_at(self, pixels: FloatArray) -> FloatArray:
        """(N, 3) RGB 0…255 at (N, 2) pixels of the frame."""
        return _sample(self.picture, self._places(pixels)).astype(np.float32)

    def certainty_at(self, pixels: FloatArray, region: npt.NDArray[np.int64]) -> FloatArray:
        """(N,) how likely (N, 2) pixels of the frame show the regions (N,), 0…1."""
        x, y = np.rint(self._places(pixels) * self.regions.shape[1] - 0.5).astype(np.int64).T
        last = self.regions.shape[1] - 1
        inside = (x >= 0) & (x <= last) & (y >= 0) & (y <= last)
        return np.where(inside, self.regions[region, np.clip(y, 0, last), np.clip(x, 0, last)], 0).astype(np.float32)

    def _places(self, pixels: FloatArray) -> FloatArray:
        return np.asarray((pixels - [self.crop.left, self.crop.top]) / self.crop.side, np.float32)


def shrunk(regions: Tensor, mask: Tensor) -> FloatArray:
    """Regions (R, s, s) within a mask (s, s) bool, but for its outline, a cell wide, where the background shows too."""
    inner = cv2.erode(mask.numpy().astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    return np.asarray(regions.float().numpy() * inner, np.float32)


def _sample(image: Image, places: FloatArray) -> npt.NDArray[np.float32]:
    """(N, C) bilinear samples at (N, 2) places, 0…1."""
    at = np.asarray(places * [image.shape[1], image.shape[0]] - 0.5, np.float32)
    return np.asarray(
        cv2.remap(image, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0], np.float32
    )
