"""Clips that nobody renders: people who move before cameras, what perception would see, and what is fitted to it.

Perception's errors are those of a rendered clip (`sender.train.lifting.recorded`), transplanted onto another motion, or
onto nearly the same one.  Bodies are fitted to the keypoints as the sender fits them: what is off then is what pictures
do not show.  (Without, they contradict their keypoints; who learned from such was 8 mm worse on real people.)

Shapes: B clips, L frames of each, K = 17 keypoints, E = 80 entries.
"""

from dataclasses import fields
from typing import Any, Final

import numpy as np
from scipy.special import logit

from common.arrays import BoolArray, FloatArray
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.lifting.window import crop_rotation
from sender.semantics.refine import Refiner, Targets
from sender.train.lifting.motions import Motions, Moving
from sender.train.lifting.observed import Boxes, Errors, crops, in_crop_cameras, in_crops
from sender.train.lifting.recorded import RecordedClips, smoothed

_FRAMES: Final = 64
_FPS: Final = 30.0
_WIDTH_PX = 1280
# Share of the clips that are nearly a rendered one.
_NEARBY = 0.4
# What is fitted is closer than what was predicted: by how much the errors of fits are enlarged before.
_MORE = (1.0, 2.2)
_SURE = 1e-3
_LEAST_SEEN = 16


def imagined(count: int, motions: Motions, clips: RecordedClips, rng: np.random.Generator) -> RecordedClips:
    """About `count` clips."""
    near, far = round(_NEARBY * count), count - round(_NEARBY * count)
    moving, boxes, errors, seen = clips.draw(near, _FRAMES, rng, _FPS, causal=True)
    made = _fitted(motions.nearby(moving, rng), boxes, errors, seen, Refiner(motions.kinematics), rng)
    moving = motions.draw(far, _FRAMES, rng, _FPS)
    of_clips = clips.errors(moving.inside, moving.time_s, rng, causal=True)
    made += _fitted(moving, crops(moving, rng), *of_clips, Refiner(motions.kinematics), rng)
    return RecordedClips([smoothed(clip) for clip in made if clip["seen"].sum() >= _LEAST_SEEN])


def _fitted(
    moving: Moving, boxes: Boxes, errors: Errors, seen: BoolArray, refiner: Refiner, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The arrays of B clips (`sender.train.lifting.clips`)."""
    side, focal = boxes.side / moving.focal[:, None], moving.focal[:, None, None]
    turn = crop_rotation(boxes.centre / focal, boxes.roll)
    joints, true = moving.keypoints @ turn, in_crop_cameras(moving, turn, side)
    size = _WIDTH_PX * moving.size[:, None]
    corners = _WIDTH_PX * (boxes.centre - boxes.side[..., None] / 2) + size / 2
    arrays = {item.name: getattr(moving, item.name) for item in fields(Moving)} | {
        "camera": np.concatenate([size[:, 0], _WIDTH_PX * moving.focal[:, None]], 1),
        "assumed_focal": _WIDTH_PX * moving.focal,
        "crop": np.concatenate([corners, _WIDTH_PX * boxes.side[..., None], boxes.roll[..., None]], -1),
        "seen": seen,
        "view": errors.view,
        "keypoints_2d": in_crops(moving.places, boxes) + errors.offset,
        "keypoints_sigma": errors.sigma,
        "visible_logit": logit(np.clip(errors.visible, _SURE, 1 - _SURE)),
        "joints_3d": joints + errors.joints_3d,
        "joints_log_variance": errors.joints_log_variance,
        "joint_depth": joints[..., 2] + errors.joint_depth,
        "depth_log_variance": errors.depth_log_variance,
        "log_sigma": errors.log_sigma,
    }
    more = rng.uniform(*_MORE, len(seen)).astype(np.float32)
    predicted = errors.fitted.lessened(more).added_to(true)
    arrays["entries"] = np.stack(
        [_refined(arrays, row, predicted[row], side[row], refiner) for row in range(len(seen))]
    )
    floats = {name: np.asarray(each, np.float32) for name, each in arrays.items() if each.dtype == np.float64}
    kept = arrays | floats | {"time_s": moving.time_s}
    return [{name: each[row] for name, each in kept.items()} for row in range(len(seen))]


def _refined(arrays: dict[str, Any], row: int, predicted: FloatArray, side: FloatArray, refiner: Refiner) -> FloatArray:
    """(L, E) of one clip, from entries that are predicted."""
    targets = Targets.of(
        arrays["keypoints_2d"][row],
        arrays["keypoints_sigma"][row],
        1 / (1 + np.exp(-arrays["visible_logit"][row])),
        arrays["joints_3d"][row],
        arrays["joints_log_variance"][row],
        np.asarray(1 / side, np.float32),
    )
    refined = refiner.refine(predicted.reshape(-1, ENTRIES), np.exp(arrays["log_sigma"][row]), targets)
    return np.asarray(np.where(arrays["seen"][row][:, None], refined, 0), np.float32)
