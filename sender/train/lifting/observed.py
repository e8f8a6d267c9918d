"""People before cameras → what is observed of them: crops, keypoints and what is fitted, with errors.

Shapes: B windows, T frames, K = 17 keypoints, E = 80 entries.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.labels import ROTATION_SCALE
from sender.perception.heads import KEYPOINTS
from sender.semantics.crop_labels import ENTRIES, entries_of_pelvis
from sender.semantics.keypoint_jacobian import CROSS, orientation
from sender.semantics.lifting.window import Observations, crop_rotation, rolled
from sender.train.lifting.motions import Moving

# Of the assumed focal length's error, as a factor's log.
_WRONG_FOCAL = 0.25
_LEAST_SIDE = 0.03
# Of a person's whole size that a crop has at least, and keypoints in the picture of whom a detector finds.
_LEAST_SHARE, _LEAST_INSIDE = 0.4, 4
# Standard deviation of the logs of σ, for a window.
_UNSURE = 0.25
# Of the errors of clips: people before real cameras shake a fifth as much as rendered ones.
_LEAST_ERRORS = 0.25
_LOST_SHARE, _LOST_S = 0.15, (0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Crops: `centre` (B, T, 2) from the principal point and `side` (B, T), widths of the picture; `roll` (B, T)."""

    centre: FloatArray
    side: FloatArray
    roll: FloatArray


@dataclass(frozen=True, slots=True)
class BodyErrors:
    """Rotations (B, T, 3, 3) of the root in the crop's axes, and errors (B, T, E) of the other entries."""

    turn: FloatArray
    entries: FloatArray

    @classmethod
    def of(cls, entries: FloatArray, true: FloatArray) -> Self:
        """Of entries (B, T, E)."""
        turns, true_turns = (orientation(each.reshape(-1, ENTRIES), CROSS) for each in (entries, true))
        turn = (turns @ true_turns.swapaxes(1, 2)).reshape(*true.shape[:2], 3, 3)
        # Of whom nothing is fitted.
        turn[~entries.any(-1)] = np.eye(3)
        return cls(turn, entries - true)

    def added_to(self, true: FloatArray) -> FloatArray:
        """Entries (B, T, E) with the errors."""
        entries = true + self.entries
        turned = self.turn @ orientation(true.reshape(-1, ENTRIES), CROSS).reshape(*true.shape[:2], 3, 3)
        entries[..., :6] = turned[..., :2].swapaxes(-1, -2).reshape(*true.shape[:2], 6) / ROTATION_SCALE
        return np.asarray(np.clip(entries, -5, 5), np.float32)

    def lessened(self, share: FloatArray) -> Self:
        """So much of them: `share` (B,)."""
        vectors = Rotation.from_matrix(self.turn.reshape(-1, 3, 3)).as_rotvec().reshape(*self.turn.shape[:2], 3)
        turn = Rotation.from_rotvec((share[:, None, None] * vectors).reshape(-1, 3)).as_matrix()
        return type(self)(turn.reshape(self.turn.shape).astype(np.float32), share[:, None, None] * self.entries)

    def at(self, rows: tuple[IntArray, IntArray]) -> Self:
        return type(self)(self.turn[rows], self.entries[rows])


@dataclass(frozen=True, slots=True)
class Errors:
    """Of what is seen and fitted.

    Args:
        view: (B, T) as in `Observations`.
        offset, sigma, visible: of keypoints (B, T, K, 2) and (B, T, K), crop widths, and probabilities.
        fitted, smoothed: of bodies fitted to each frame, and of these smoothed over time.
        log_sigma: (B, T, E) the logs of σ of what is fitted.
        joints_3d, joints_log_variance: (B, T, K, 3) metres, and (B, T, K).
        joint_depth, depth_log_variance: (B, T, K) metres, and (B, T).
    """

    view: FloatArray
    offset: FloatArray
    sigma: FloatArray
    visible: FloatArray
    fitted: BodyErrors
    smoothed: BodyErrors
    log_sigma: FloatArray
    joints_3d: FloatArray
    joints_log_variance: FloatArray
    joint_depth: FloatArray
    depth_log_variance: FloatArray

    def at(self, rows: tuple[IntArray, IntArray]) -> Self:
        parts: list[Any] = [getattr(self, name) for name in self.__slots__]
        chosen: list[Any] = [part.at(rows) if isinstance(part, BodyErrors) else part[rows] for part in parts]
        return type(self)(*chosen)

    def lessened(self, share: FloatArray) -> Self:
        """With so much of what is off: `share` (B,)."""
        each, every = share[:, None, None], share[:, None, None, None]
        return replace(
            self,
            offset=every * self.offset,
            fitted=self.fitted.lessened(share),
            smoothed=self.smoothed.lessened(share),
            joints_3d=every * self.joints_3d,
            joint_depth=each * self.joint_depth,
        )


def assumed_focal(moving: Moving, rng: np.random.Generator) -> FloatArray:
    """(B,) the focal length that is assumed, in widths of the picture: half of the cameras' are known."""
    wrong = rng.uniform(-_WRONG_FOCAL, _WRONG_FOCAL, len(moving.focal)) * (rng.random(len(moving.focal)) < 0.5)
    return np.asarray(moving.focal * np.exp(wrong), np.float32)


def crops(moving: Moving, rng: np.random.Generator) -> Boxes:
    """Around what is in the picture, not quite."""
    half, inside = 0.5 * moving.size[:, None, None], moving.inside[..., None]
    within = np.clip(moving.places, -half, half)
    any_inside = inside.any(2, keepdims=True)
    low = np.where(inside | ~any_inside, within, np.inf).min(2)
    high = np.where(inside | ~any_inside, within, -np.inf).max(2)
    count, frames = moving.time_s.shape
    margin = rng.uniform(1.2, 1.75, (count, 1)) * np.exp(0.04 * along(moving.time_s, 0.3, (), rng))
    whole = np.clip(np.ptp(moving.places, 2).max(-1), _LEAST_SIDE, 3.0)
    side = margin * np.maximum((high - low).max(-1), _LEAST_SHARE * whole)
    wander = rng.normal(0, 0.02, (count, 1, 2)) + 0.015 * along(moving.time_s, 0.3, (2,), rng)
    roll = rng.normal(0, 0.5, (count, 1)) * (rng.random((count, 1)) < 0.1)
    centre = (low + high) / 2 + side[..., None] * wander
    return Boxes(centre.astype(np.float32), side.astype(np.float32), roll.repeat(frames, 1).astype(np.float32))


def in_crops(points: FloatArray, boxes: Boxes) -> FloatArray:
    """(B, T, K, 2) in the picture → crop units."""
    turned = rolled(points - boxes.centre[:, :, None], -boxes.roll)
    return np.asarray(turned / boxes.side[..., None, None] + 0.5, np.float32)


def observe(
    moving: Moving,
    boxes: Boxes,
    focal: FloatArray,
    errors: Errors,
    seen: BoolArray,
    rng: np.random.Generator,
) -> Observations:
    """What is seen in crops, of those who look with a focal length (B,) that they assume.

    Args:
        seen: (B, T) whether the person was found; some are lost on top.
    """
    centre, side, roll = boxes.centre, boxes.side, boxes.roll
    seen = seen & (moving.inside.sum(-1) >= _LEAST_INSIDE) & found(moving.time_s, rng)
    seen[~seen.any(1), 0] = True
    true_centre, true_side = centre / moving.focal[:, None, None], side / moving.focal[:, None]
    turn = crop_rotation(true_centre, roll)
    true = in_crop_cameras(moving, turn, true_side)
    joints = moving.keypoints @ turn
    depth = joints[..., 2] + errors.joint_depth
    rows, last = np.arange(len(seen))[:, None], nearest(seen)
    # A clip is not to be known by how certain the networks are of it.
    less, of_logs = (rng.normal(0, _UNSURE, (len(seen), 1, size)).astype(np.float32) for size in (KEYPOINTS, ENTRIES))
    return Observations(
        time_s=moving.time_s,
        centre=(centre / focal[:, None, None])[rows, last],
        side=(side / focal[:, None])[rows, last],
        roll=roll[rows, last],
        seen=seen,
        view=errors.view,
        keypoints=in_crops(moving.places, boxes) + errors.offset,
        sigma=errors.sigma * np.exp(less),
        visible=errors.visible,
        entries=errors.fitted.added_to(true)[rows, last],
        log_sigma=errors.log_sigma + of_logs,
        smoothed=errors.smoothed.added_to(true)[rows, last],
        joints_3d=joints + errors.joints_3d,
        joints_log_variance=errors.joints_log_variance,
        joint_depth=depth,
        depth_log_variance=errors.depth_log_variance,
    )


def lessened(errors: Errors, rng: np.random.Generator) -> Errors:
    """Some of the errors of each window."""
    return errors.lessened(rng.uniform(_LEAST_ERRORS, 1, len(errors.view)).astype(np.float32))


def in_crop_cameras(moving: Moving, turn: FloatArray, side: FloatArray) -> FloatArray:
    """(B, T, E) true entries in crops, whose axes are turned by (B, T, 3, 3) to the camera's, of `side` (B, T) focal
    lengths; the distance is the one that the crop shows (`sender.perception.crop.to_frame`)."""
    shape = side.shape
    oriented = (turn.swapaxes(-1, -2) @ moving.turn)[..., :2].swapaxes(-1, -2).reshape(*shape, 6) / ROTATION_SCALE
    pelvis = (moving.pelvis[..., None, :] @ turn)[..., 0, :]
    pelvis[..., 2] *= turn[..., 2, 2] ** 1.5
    placed = entries_of_pelvis(pelvis.reshape(-1, 3), 1 / side.reshape(-1, 1)).reshape(*shape, 3)
    return np.concatenate([oriented, placed, moving.body], -1).astype(np.float32)


def found(time_s: Float64Array, rng: np.random.Generator) -> BoolArray:
    """(B, T) false where the person is lost: in some windows, for up to a second."""
    count = len(time_s)
    duration = rng.uniform(*_LOST_S, (count, 1)) * (rng.random((count, 1)) < _LOST_SHARE)
    begin = rng.uniform(0, 1, (count, 1)) * time_s[:, -1:]
    return np.asarray((time_s < begin) | (time_s > begin + duration))


def nearest(seen: BoolArray) -> Float64Array:
    """(B, T) the last frame that is seen, else the first one that is."""
    frames = np.arange(seen.shape[1])
    last = np.maximum.accumulate(np.where(seen, frames, -1), 1)
    return np.where(last < 0, seen.argmax(1)[:, None], last)


def along(time_s: Float64Array, lasting_s: float, size: tuple[int, ...], rng: np.random.Generator) -> Float64Array:
    """(B, T, *size) of unit variance, whose correlation falls to 1/e in so many seconds."""
    values = rng.normal(0, 1, (*time_s.shape, *size))
    kept = np.exp(-np.diff(time_s) / lasting_s).reshape(*time_s.shape[:1], -1, *(1 for _ in size))
    for frame in range(1, time_s.shape[1]):
        own = kept[:, frame - 1]
        values[:, frame] = own * values[:, frame - 1] + np.sqrt(1 - own**2) * values[:, frame]
    return values
