"""The detector's scores on the photographs that are held back from training."""

from collections.abc import Iterable

import numpy as np
import torch
from torchvision.ops import box_iou

from common.arrays import BoolArray, FloatArray
from sender.perception.detect import Detector
from sender.train.photographs.dataset import Photograph

_IOU = 0.5
# A proposal with more than this share of its area in a crowd's box is not counted as false.
_IN_CROWD = 0.5
# Height from which people are counted.
_LEAST_HEIGHT_PX = 80


def proposal_scores(detector: Detector, photographs: Iterable[Photograph]) -> dict[str, float]:
    """Share of people at least 80 pixels high who are proposed, its standard error, and other proposals a picture."""
    proposed, others = list[bool](), list[int]()
    for item in photographs:
        found = np.array([each.box for each in detector.find(item.image)], np.float32).reshape(-1, 4)
        overlaps = box_iou(torch.from_numpy(found), torch.from_numpy(item.boxes)).numpy() >= _IOU
        tall = item.boxes[:, 3] - item.boxes[:, 1] >= _LEAST_HEIGHT_PX
        proposed += overlaps.any(axis=0)[tall].tolist()
        others.append(int((~overlaps.any(axis=1) & ~in_crowd(found, item.crowds)).sum()))
    share, count = float(np.mean(proposed or [False])), max(len(proposed), 1)
    scores = {"found": share, "found_standard_error": (share * (1 - share) / count) ** 0.5, "others": np.mean(others)}
    return {f"people_{name}": round(float(value), 4) for name, value in scores.items()}


def in_crowd(found_d4: FloatArray, crowds_m4: FloatArray) -> BoolArray:
    """(d,) detections of which more than half lies in a crowd's box."""
    return np.asarray((shares_inside(found_d4, crowds_m4) > _IN_CROWD).any(axis=1))


def shares_inside(found_d4: FloatArray, boxes_m4: FloatArray) -> FloatArray:
    """(d, m) share of each detection's area that lies in each box."""
    low = np.maximum(found_d4[:, None, :2], boxes_m4[None, :, :2])
    high = np.minimum(found_d4[:, None, 2:], boxes_m4[None, :, 2:])
    area = (found_d4[:, 2:] - found_d4[:, :2]).prod(axis=1).clip(1e-6)
    return np.asarray((high - low).clip(0).prod(axis=2) / area[:, None], np.float32)
