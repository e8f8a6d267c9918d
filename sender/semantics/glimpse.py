"""What one frame shows of one person: the square around it, small, and which body region each of its places shows."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sender.perception.crop import CropBox
from sender.perception.output import PerceptionOutput

FloatArray = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

# A pixel is then about half of what lies between two surface points, and cutting averages over it.
_PICTURE_SIZE = 192
# Two thirds of a cell of the mask: an outline is that uncertain, and a pixel of the picture is blurred by another.
_OUTLINE = 5


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """One person in one frame; places in crop units, 0…1.

    Args:
        crop: where in the frame.
        picture: (S, S, 3) uint8 RGB.
        inside: (S, S) bool the person, but for its outline, where the background shows too.
        regions: (R, s, s) how likely each place shows each body region, 0…1.
    """

    crop: CropBox
    picture: Image
    inside: npt.NDArray[np.bool_]
    regions: FloatArray

    @classmethod
    def of(cls, image: Image, crop: CropBox, output: PerceptionOutput) -> "Glimpse":
        """Cut from a frame (H, W, 3), with what perception saw there."""
        regions = output.part_logits[0].softmax(dim=0)[1:].float().numpy()
        return cls(crop, crop.cut(image, _PICTURE_SIZE), within(output.mask_logits[0].float().numpy()), regions)

    def colours_at(self, pixels: FloatArray) -> FloatArray:
        """(N, 3) RGB 0…255 at (N, 2) pixels of the frame."""
        return _sample(self.picture, self._places(pixels)).astype(np.float32)

    def certainty_at(self, pixels: FloatArray, region: npt.NDArray[np.int64]) -> FloatArray:
        """(N,) how likely (N, 2) pixels of the frame show the regions (N,), 0…1."""
        places = self._places(pixels)
        x, y = _cells(places, self.regions.shape[-1])
        on_person = self.inside[tuple(_cells(places, len(self.inside))[::-1])]
        within_crop = ((places >= 0) & (places < 1)).all(axis=1)
        return np.where(on_person & within_crop, self.regions[region, y, x], 0).astype(np.float32)

    def _places(self, pixels: FloatArray) -> FloatArray:
        return np.asarray((pixels - [self.crop.left, self.crop.top]) / self.crop.side, np.float32)


def within(logits: FloatArray) -> npt.NDArray[np.bool_]:
    """(S, S) where a mask (s, s) of logits is the person for sure."""
    fine = cv2.resize(logits, (_PICTURE_SIZE, _PICTURE_SIZE), interpolation=cv2.INTER_LINEAR) > 0
    kernel = np.ones((_OUTLINE, _OUTLINE), np.uint8)
    # What lies beyond the crop counts as person: a crop cuts people off, which is no outline.
    return np.asarray(cv2.erode(fine.astype(np.uint8), kernel) > 0)


def _cells(places: FloatArray, size: int) -> npt.NDArray[np.int64]:
    """(2, N) column and row of the cells of a square of so many that (N, 2) places fall into."""
    return np.clip(np.floor(places * size), 0, size - 1).astype(np.int64).T


def _sample(image: Image, places: FloatArray) -> npt.NDArray[np.float32]:
    """(N, C) bilinear samples at (N, 2) places, 0…1."""
    at = np.asarray(places * [image.shape[1], image.shape[0]] - 0.5, np.float32)
    return np.asarray(
        cv2.remap(image, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0], np.float32
    )
