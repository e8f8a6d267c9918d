"""Looking into boxes of a frame: crops out, perception's answer in, and where the people in them really are."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from common.arrays import Box, Image
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput

# How far a person may go on beyond the keypoints: left, top, right, bottom, in the longer side of the keypoints' box.
_BEYOND = np.array([-0.12, -0.16, 0.12, 0.12], dtype=np.float32)
# So many keypoints in sight outline a person.
_ENOUGH = 9


@dataclass(frozen=True, slots=True)
class BoxPredictions:
    """What perception saw in some boxes of a frame.

    Args:
        crops: where it looked.
        output: what it saw, one row a crop.
    """

    crops: tuple[CropBox, ...]
    output: PerceptionOutput

    def rows(self) -> list[PerceptionOutput]:
        """Each crop's part of the answer, a batch of one."""
        return [one(self.output, row) for row in range(len(self.crops))]

    def boxes(self) -> list[Box]:
        """(4,) each: the boxes of the people seen, in pixels of the frame."""
        return [person_box(output, crop) for output, crop in zip(self.rows(), self.crops, strict=True)]


def look(perception: Perception, image: Image, boxes: Sequence[Box]) -> BoxPredictions:
    """Looks into boxes (4,) of a frame (H, W, 3) uint8 RGB, all at once.

    Raises:
        ValueError: there is no box.
    """
    crops = tuple(CropBox.around(box) for box in boxes)
    return BoxPredictions(crops, perception.observe([crop.cut(image, perception.size) for crop in crops]))


def refine_boxes(perception: Perception, image: Image, boxes: Sequence[Box]) -> BoxPredictions:
    """Looks into rough boxes, as the detector gives them, for where the people in them really are, and then there.

    Raises:
        ValueError: there is no box.
    """
    return look(perception, image, look(perception, image, boxes).boxes())


def one(output: PerceptionOutput, row: int) -> PerceptionOutput:
    """One person of a batch, as a batch of one."""
    return PerceptionOutput(*(getattr(output, item.name)[row : row + 1] for item in fields(output)))


def person_box(output: PerceptionOutput, crop: CropBox) -> Box:
    """The box of one person in pixels: around the mask, as far as it can belong to the keypoints that are in sight.

    A mask may run on into somebody else, a keypoint may be missed: the box ends where either does, but for the few
    keypoints of somebody hardly seen, which only widen the mask's.
    """
    places, sigma = output.keypoints_2d[0].numpy(), output.keypoints_sigma[0].numpy()
    visible = output.visible_logit[0].numpy()
    mask = output.mask_logits[0] > 0
    masked = _mask_corners(mask) if mask.float().mean() > 0.01 else None
    sharp = places[output.sharp[0].numpy()]
    placed = places[(sigma < 0.12) & (visible > -2.0)]
    if len(sharp) >= _ENOUGH:
        box = _beyond(sharp)
        if masked is not None:
            box = np.concatenate([np.maximum(box[:2], masked[0]), np.minimum(box[2:], masked[1])])
    elif len(placed) >= 3:
        box = _beyond(placed) if masked is None else _around(np.concatenate([placed, masked]))
    else:
        box = np.array([0.1, 0.1, 0.9, 0.9], dtype=np.float32) if masked is None else masked.reshape(4)
    return np.asarray(crop.to_pixels(box.reshape(2, 2).astype(np.float32)).reshape(4), dtype=np.float32)


def _around(points_N2: Box) -> Box:
    return np.concatenate([points_N2.min(axis=0), points_N2.max(axis=0)])


def _beyond(keypoints_N2: Box) -> Box:
    """A person's box from keypoints, which end at ankles and eyes."""
    box = _around(keypoints_N2)
    return np.asarray(box + _BEYOND * (box[2:] - box[:2]).max(), dtype=np.float32)


def _mask_corners(mask_HW: torch.Tensor) -> Box:
    """Top left and bottom right of a mask in crop units, a hundredth of its pixels cut off as specks."""
    corners = []
    for axis in (0, 1):
        share = mask_HW.float().sum(dim=axis).cumsum(0) / mask_HW.sum()
        low = int((share < 0.005).sum())
        high = int((share < 0.995).sum()) + 1
        corners.append((low / len(share), high / len(share)))
    return np.array([[corners[0][0], corners[1][0]], [corners[0][1], corners[1][1]]], dtype=np.float32)
