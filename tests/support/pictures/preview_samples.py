"""Observed people with a given mask, keypoints and depth."""

from typing import Any

import numpy as np
import torch

from common.arrays import BoolArray, FloatArray
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson

MASK = 32
"""Cells along a side of masks and depth."""


def observed(
    crop: CropBox,
    mask: BoolArray,
    *,
    keypoints_2d: FloatArray | None = None,
    visible: BoolArray | None = None,
    identity: int = 0,
    score: float = 0.87,
) -> ObservedPerson:
    """A person with a mask that is certain everywhere.

    Args:
        mask: (MASK, MASK).
        keypoints_2d: (17, 2) in crop units; all at the centre by default.
        visible: (17,); none by default.
    """
    unused: dict[str, Any] = {name: torch.zeros(1) for name in PerceptionOutput.__dataclass_fields__}
    keypoints_2d = np.full((17, 2), 0.5, np.float32) if keypoints_2d is None else keypoints_2d
    visible = np.zeros(17, np.bool_) if visible is None else visible
    used = {
        "mask_logits": torch.from_numpy(np.where(mask, 8.0, -8.0).astype(np.float32))[None],
        "depth": torch.zeros(1, MASK, MASK),
        "keypoints_2d": torch.from_numpy(keypoints_2d)[None],
        "keypoints_sigma": torch.full((1, 17), 0.02),
        "visible_logit": torch.from_numpy(np.where(visible, 4.0, -4.0).astype(np.float32))[None],
    }
    return ObservedPerson(TrackedPerson(identity), score, crop, PerceptionOutput(**(unused | used)))


def block(left: float, top: float, right: float, bottom: float) -> BoolArray:
    """(MASK, MASK): true from left, top to right, bottom, in crop units."""
    mask = np.zeros((MASK, MASK), np.bool_)
    mask[round(top * MASK) : round(bottom * MASK), round(left * MASK) : round(right * MASK)] = True
    return mask
