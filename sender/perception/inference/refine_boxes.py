"""Perception in boxes of a frame: crops, predictions, and the refined boxes of the people in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, Box, FloatArray, Image
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.inference.zoom_augmentation import predict_zoomed
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.view_turns import View

# How far a person extends beyond their keypoints (to the left, top, right, bottom), over the longer side of the
# keypoints' box.
_MARGINS = np.array([-0.12, -0.16, 0.12, 0.12], dtype=np.float32)
# Located keypoints from which their box bounds the person.
_MIN_LOCATED = 9
# With fewer, probable ones only widen the mask's box: of a smaller standard deviation (crop units) …
_MAX_SIGMA = 0.12
# … and a larger logit of being visible, …
_MIN_VISIBLE_LOGIT = -2.0
# … if there are so many of them.
_MIN_KEYPOINTS = 3
# A mask that covers less of the crop is ignored.
_MIN_MASK_SHARE = 0.01
# Share of a mask's pixels on each side that are taken for specks.
_MASK_TAIL = 0.005
# A mask and a keypoint so near to a side of the crop are cut off there, crop units; …
_CUT_MASK, _CUT_KEYPOINT = 0.02, 0.06
# … the person may extend so far beyond it.
_BEYOND_CUT = 0.25
# The box of a crop in which nothing is found, crop units.
_DEFAULT_BOX = np.array([0.1, 0.1, 0.9, 0.9], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class BoxPredictions:
    """Perception's predictions in boxes of a frame.

    Args:
        output: the predictions, one row per crop.
    """

    crops: tuple[CropBox, ...]
    output: PerceptionOutput

    def person_boxes(self) -> list[Box]:
        """The refined box (4,) of the person in each crop, in pixels of the frame."""
        return [person_box(output, crop) for output, crop in zip(self.output.split(), self.crops, strict=True)]


def predict_in_boxes(
    perception: Perception,
    image: Image,
    boxes: Sequence[Box],
    *,
    view: View = "both",
    thorough: bool = False,
    live: bool = False,
    apart: bool = False,
    roll: float = 0.0,
) -> BoxPredictions:
    """Predicts the people in boxes (4,) of a frame (H, W, 3) uint8 RGB as one batch, with a second opinion if there is.

    Args:
        view: how the networks see each crop.
        thorough: with zoom augmentation, in five times the time of one view.
        live: of a camera, whose second opinion is the faster one.
        apart: the boxes are different people's.
        roll: of the crops, radians clockwise.

    Raises:
        ValueError: there is no box.
    """
    crops = tuple(CropBox.around(box, roll=roll) for box in boxes)

    def perceive() -> PerceptionOutput:
        if thorough:
            return predict_zoomed(perception, image, crops)
        return perception.observe([crop.cut(image, perception.size) for crop in crops], view)

    if perception.second is None:
        return BoxPredictions(crops, perceive())
    fused = perception.second.fused(perceive, image, boxes, crops, view=view, thorough=thorough, live=live, apart=apart)
    return BoxPredictions(crops, fused)


def person_box(output: PerceptionOutput, crop: CropBox) -> Box:
    """The box of one person, in pixels of the frame, from mask and keypoints (`output` is a batch of one).

    In a crop that is rolled, it is the box there, turned upright around its centre.

    The mask may include parts of another person, and keypoints may be missing.  With enough located keypoints, the box
    is the intersection of the mask's box and the keypoints' box with margins; with few, keypoints only widen the mask's
    box.
    """
    positions, sigma = output.keypoints_2d[0].numpy(), output.keypoints_sigma[0].numpy()
    visible_logit = output.visible_logit[0].numpy()
    mask: BoolArray = np.greater(output.mask_logits[0].numpy(), 0)
    mask_corners = _mask_corners(mask) if mask.mean() > _MIN_MASK_SHARE else None
    located = positions[output.located[0].numpy()]
    probable = positions[(sigma < _MAX_SIGMA) & (visible_logit > _MIN_VISIBLE_LOGIT)]
    if len(located) >= _MIN_LOCATED:
        box = _with_margins(located)
        if mask_corners is not None:
            box = np.concatenate([np.maximum(box[:2], mask_corners[0]), np.minimum(box[2:], mask_corners[1])])
    elif len(probable) >= _MIN_KEYPOINTS:
        box = _with_margins(probable) if mask_corners is None else _around(np.concatenate([probable, mask_corners]))
    else:
        box = _DEFAULT_BOX if mask_corners is None else mask_corners.reshape(4)
    middle = crop.to_pixels(((box[:2] + box[2:]) / 2).astype(np.float32))
    half = crop.side * (box[2:] - box[:2]) / 2
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def uncut_box(output: PerceptionOutput, crop: CropBox, width: int, height: int) -> Box | None:
    """The box of one person whom a side of the crop cuts off inside a frame of width × height, with room there.

    None where no side does.  A box that follows a person cannot grow beyond its crop: somebody who gets up fast would
    leave it.  In a crop that is rolled, the sides are those of the crop.
    """
    corner, keypoints = np.array([crop.left, crop.top]), output.keypoints_2d[0].numpy()
    at_low = (keypoints.min(axis=0) < _CUT_KEYPOINT) & (corner > 0)
    at_high = (keypoints.max(axis=0) > 1 - _CUT_KEYPOINT) & (corner + crop.side < [width, height])
    mask: BoolArray = np.greater(output.mask_logits[0].numpy(), 0)
    # Hardly anybody's keypoints are at a side: masks take longer.
    if not (at_low.any() or at_high.any()) or mask.mean() <= _MIN_MASK_SHARE:
        return None
    low, high = _mask_corners(mask)
    cut = np.concatenate([at_low & (low < _CUT_MASK), at_high & (high > 1 - _CUT_MASK)])
    if not cut.any():
        return None
    beyond = _BEYOND_CUT * crop.side * cut * np.array([-1, -1, 1, 1])
    return np.asarray(person_box(output, crop) + beyond, np.float32)


def _around(points_N2: FloatArray) -> Box:
    return np.concatenate([points_N2.min(axis=0), points_N2.max(axis=0)])


def _with_margins(keypoints_N2: FloatArray) -> Box:
    """A person's box from the keypoints, the outermost of which are ankles and eyes."""
    box = _around(keypoints_N2)
    return np.asarray(box + _MARGINS * (box[2:] - box[:2]).max(), dtype=np.float32)


def _mask_corners(mask_HW: BoolArray) -> FloatArray:
    """Upper left and lower right corner (2, 2) of a mask in crop units, with its outermost 1 % cut off as specks."""
    corners = []
    for axis in (0, 1):
        counts = np.count_nonzero(mask_HW, axis=axis).cumsum()
        share = counts / counts[-1]
        low = int((share < _MASK_TAIL).sum())
        high = int((share < 1 - _MASK_TAIL).sum()) + 1
        corners.append((low / len(share), high / len(share)))
    return np.array([[corners[0][0], corners[1][0]], [corners[0][1], corners[1][1]]], dtype=np.float32)
