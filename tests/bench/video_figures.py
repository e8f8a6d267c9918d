"""Figures of the people published in a video: identities, jitter at rest, and lag behind the keypoints head.

Keypoints (17, 2) are in pixels, joints (17, 3) in metres; each is known by the identity of its person.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.anatomy import COCO_KEYPOINTS

_ARMS = [index for index, name in enumerate(COCO_KEYPOINTS) if name.endswith(("elbow", "wrist"))]
# A keypoint rests between two frames if it moves by less than this share of the longer side of the person's box.
_REST_SHARE = 0.005
_NEAREST = 3
_LARGEST_LAG = 4
_MIN_FRAMES = 20
Value = TypeVar("Value")


@dataclass(frozen=True)
class Published:
    """The people of one frame by identity.

    Args:
        keypoints: as published by the receiver, pixels.
        joints: in camera space, as published.
        perceived: from the keypoints head, pixels.
    """

    keypoints: Mapping[int, FloatArray]
    joints: Mapping[int, FloatArray]
    perceived: Mapping[int, FloatArray]


def video_figures(frames: Sequence[Published]) -> dict[str, float]:
    """Figures of a video.

    Returns:
        `found_share` of the frames with people, `people_mean`, `identities` of all and `identities_nearest` of each
        frame's three tallest people (3 if none of them is ever exchanged or lost); `joint_jump_mm_median` between
        frames, and the mean of those whose keypoint rests; `arm_lag_frames` by which the published arms follow those of
        the keypoints head, at the largest correlation of their speeds.
    """
    jumps = [
        np.linalg.norm(after - before, axis=1).mean() for before, after in successive([f.keypoints for f in frames])
    ]
    moves = [np.linalg.norm(after - before, axis=1) for before, after in successive([f.joints for f in frames])]
    still = [rests(before, after) for before, after in successive([f.perceived for f in frames])]
    at_rest = np.concatenate([move[rest] for move, rest in zip(moves, still, strict=True)]) if moves else np.zeros(0)
    nearest = {identity for frame in frames for identity in tallest(frame.keypoints)}
    return {
        "frames": float(len(frames)),
        "found_share": float(np.mean([bool(frame.keypoints) for frame in frames])),
        "people_mean": float(np.mean([len(frame.keypoints) for frame in frames])),
        "identities": float(len({identity for frame in frames for identity in frame.keypoints})),
        "identities_nearest": float(len(nearest)),
        "keypoint_jump_px_mean": float(np.mean(jumps)) if jumps else float("nan"),
        "joint_jump_mm_median": 1000 * float(np.median(moves)) if moves else float("nan"),
        "joint_jump_at_rest_mm": 1000 * float(at_rest.mean()) if at_rest.size else float("nan"),
        "at_rest_share": at_rest.size / max(sum(move.size for move in moves), 1),
        "arm_lag_frames": arm_lag(frames),
    }


def successive(frames: Sequence[Mapping[int, Value]]) -> Iterator[tuple[Value, Value]]:
    """Each identity's values in a frame and in the next one."""
    for before, after in pairwise(frames):
        for identity in sorted(before.keys() & after.keys()):
            yield before[identity], after[identity]


def rests(before: FloatArray, after: FloatArray) -> BoolArray:
    """(17,) which keypoints rest from one frame (17, 2) to the next."""
    side = float(np.ptp(before, axis=0).max())
    return np.asarray(np.linalg.norm(after - before, axis=1) < _REST_SHARE * side)


def tallest(keypoints: Mapping[int, FloatArray], count: int = _NEAREST) -> list[int]:
    """The identities of the `count` people with the greatest height in the picture."""
    return sorted(keypoints, key=lambda identity: -float(np.ptp(keypoints[identity][:, 1])))[:count]


def arm_lag(frames: Sequence[Published]) -> float:
    """Frames by which the published elbows and wrists follow perceived ones, of the person seen most; NaN for a few."""
    counts = Counter(identity for frame in frames for identity in frame.keypoints)
    if not counts:
        return float("nan")
    identity = counts.most_common(1)[0][0]
    own = [frame for frame in frames if identity in frame.keypoints]
    if len(own) < _MIN_FRAMES:
        return float("nan")
    perceived = _velocity([frame.perceived[identity] for frame in own])
    published = _velocity([frame.keypoints[identity] for frame in own])
    count = len(perceived) - _LARGEST_LAG

    def correlation(lag: int) -> float:
        first, second = perceived[:count], published[lag : lag + count]
        return float((first * second).sum() / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-12))

    return float(max(range(_LARGEST_LAG + 1), key=correlation))


def _velocity(keypoints: Sequence[FloatArray]) -> Float64Array:
    """(T − 1, 4, 2) of the arms' keypoints."""
    return np.asarray(np.diff(np.stack(keypoints)[:, _ARMS], axis=0), np.float64)
