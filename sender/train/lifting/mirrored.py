"""Mirror images of clips: as many again, of left-handed people.

Shapes: L frames of a clip, K = 17 keypoints, E = 80 entries.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from common.arrays import FloatArray
from common.body.anatomy import MIRROR_SIGNS, MIRRORED_KEYPOINTS
from common.body.label_space import LabelSpace
from common.labels import group_slices
from sender.semantics.crop_labels import ENTRIES, body_in_crop, crop_entries

_SIGNS = np.array(MIRROR_SIGNS, np.float32)
_KEYPOINTS = ("keypoints_sigma", "visible_logit", "joints_log_variance", "joint_depth")
_POINTS = ("joints_3d", "keypoints")
MIRRORED_CONTACTS = [2, 3, 0, 1]


def mirrored(clip: Mapping[str, Any], space: LabelSpace) -> dict[str, Any]:
    """A clip's arrays (`sender.train.lifting.clips`), as if its pictures had been mirrored."""
    left, top, side, roll = clip["crop"].T
    changed: dict[str, Any] = {name: clip[name][:, MIRRORED_KEYPOINTS] for name in _KEYPOINTS}
    changed |= {name: clip[name][:, MIRRORED_KEYPOINTS] * _SIGNS for name in _POINTS}
    changed["keypoints_2d"] = np.array([1, 0]) + clip["keypoints_2d"][:, MIRRORED_KEYPOINTS] * (-1, 1)
    # Of whom nothing was fitted, all entries are 0, and stay it.
    entries = np.where(clip["entries"].any(1, keepdims=True), _entries(clip["entries"], space), 0)
    body = np.pad(clip["body"], ((0, 0), (ENTRIES - clip["body"].shape[1], 0)))
    return {
        **clip,
        **changed,
        "view": 1 - clip["view"],
        "crop": np.stack([clip["camera"][0] - left - side, top, side, -roll], 1),
        "entries": entries.astype(np.float32),
        "log_sigma": _exchanged(clip["log_sigma"]),
        "turn": clip["turn"] * _SIGNS * _SIGNS[:, None],
        "body": _entries(body, space)[:, -clip["body"].shape[1] :],
        "pelvis": clip["pelvis"] * _SIGNS,
        "up": clip["up"] * _SIGNS,
        "contacts": clip["contacts"][:, MIRRORED_CONTACTS],
    }


def _entries(entries: FloatArray, space: LabelSpace) -> FloatArray:
    """(L, E) of the mirrored bodies."""
    focal = torch.ones(len(entries))
    return crop_entries(space, body_in_crop(space, torch.from_numpy(entries), focal).mirrored(), focal).numpy()


def _exchanged(log_sigma: FloatArray) -> FloatArray:
    """(L, E) with the limbs' of the other side."""
    groups, exchanged = group_slices(), log_sigma.copy()
    for limb in ("arm", "leg"):
        left, right = groups[f"left_{limb}"], groups[f"right_{limb}"]
        exchanged[:, left], exchanged[:, right] = log_sigma[:, right], log_sigma[:, left]
    return exchanged
