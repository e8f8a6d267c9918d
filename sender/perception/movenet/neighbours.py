"""Hides from MoveNet who is rather another person: in a crop, it takes the one who is seen best.

Of two people before four cameras, of whom one walks behind the other in one picture, joints are 84 mm off instead of
89 (49 instead of 53 aligned).
"""

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
from torch import Tensor

from common.arrays import Box, Float64Array, FloatArray, Image
from sender.perception.inference.crop import CropBox

# Logit of a mask beyond its crop.
_NOBODY = -20.0


def any_overlap(boxes: Sequence[Box]) -> bool:
    """Whether there is anybody to hide."""
    return any(_overlap(*pair) for pair in combinations(boxes, 2))


def hide_neighbours(
    cuts: Sequence[Image], seen: Sequence[CropBox], boxes: Sequence[Box], crops: Sequence[CropBox], mask_logits: Tensor
) -> None:
    """Makes black, in the cuts (S, S, 3) of people, what masks say is rather another one.

    Args:
        seen: the crops that are cut; `crops`: those of the masks.
        mask_logits: (B, h, h).
    """
    for row, (cut, own) in enumerate(zip(cuts, seen, strict=True)):
        others = [each for each in range(len(boxes)) if each != row and _overlap(boxes[row], boxes[each])]
        if not others:
            continue
        mine = np.maximum(_in_cut(mask_logits[row], crops[row], own, len(cut)), 0)
        for other in others:
            cut[_in_cut(mask_logits[other], crops[other], own, len(cut)) > mine] = 0


def without(image: Image, people: Sequence[tuple[Tensor, CropBox]]) -> Image:
    """A frame (H, W, 3) that is black where the masks (h, h), logits in crops, show people."""
    rest = image.copy()
    for mask_logits, crop in people:
        cells = len(mask_logits)
        turn = crop.axes.T * cells / crop.side
        rest[_warped(mask_logits, turn, cells / 2 - turn @ crop.centre, image.shape[:2]) > 0] = 0
    return rest


def _overlap(one: Box, other: Box) -> bool:
    return bool((np.minimum(one[2:], other[2:]) > np.maximum(one[:2], other[:2])).all())


def _in_cut(logits: Tensor, crop: CropBox, own: CropBox, size: int) -> FloatArray:
    """(S, S) the logits (h, h) of a mask in a crop, at the pixels of another one, which is rolled alike."""
    cells = len(logits) / crop.side
    step = own.side / size * cells
    corner = cells * ((np.array(own.centre) - crop.centre) @ crop.axes + (crop.side - own.side) / 2)
    return _warped(logits, step * np.eye(2), corner, (size, size))


def _warped(logits: Tensor, linear: Float64Array, corner: Float64Array, size: tuple[int, int]) -> FloatArray:
    """(H, W) logits (h, h) at the pixels of a picture of this size.

    Args:
        linear, corner: (2, 2) and (2,) from x, y in the picture to cells.
    """
    # From centres of pixels to those of cells.
    matrix = np.concatenate([linear, (corner + linear.sum(axis=1) / 2 - 0.5)[:, None]], axis=1)
    method, (height, width) = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, size
    mask = cv2.warpAffine(logits.float().numpy(), matrix, (width, height), flags=method, borderValue=_NOBODY)
    return np.asarray(mask, np.float32)
