"""Errors of observations, drawn at random: what detectors of keypoints and perception do to the truth.

A keypoint's error is an offset that lasts, a slow and a fast one, jumps, exchanges of left and right, and places
far off for joints that are hidden or outside of the picture.

Shapes: B windows, T frames, K = 17 keypoints, E = 80 entries.
"""

from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.body.rotations import axis_angle_to_matrix
from common.labels import group_slices
from sender.semantics.crop_labels import ENTRIES

_HEAD, _SHOULDERS, _HIPS = slice(0, 5), slice(5, 7), slice(11, 13)
_LIMBS = (range(5, 11), range(11, 17), range(5, 17), range(17))
# Standard deviations of a keypoint's error, crop widths, in the middle; of joints hidden, and of jumps.
_TYPICAL, _HIDDEN, _JUMP = 0.011, 0.05, 0.08
_SLOW_S, _FAST_S, _ENTRIES_S = 0.6, 0.06, 1.0
# Of the pose head's entries by group, standard deviations of an entry over people.
_OF_ENTRIES = {
    "root": 0.14, "shape": 0.7, "torso": 0.4, "head": 0.5, "left_arm": 0.35, "right_arm": 0.35, "left_leg": 0.26,
    "right_leg": 0.26, "hands": 0.8,
}  # fmt: skip
_OF_JOINTS_M, _OF_DEPTH_M = 0.06, 0.05
# Of the turn of the root about each axis, radians.
_TURN = 0.12


@dataclass(frozen=True, slots=True)
class KeypointErrors:
    """Of keypoints: offsets (B, T, K, 2) and σ (B, T, K) in crop widths, and visible (B, T, K) probabilities."""

    offset: FloatArray
    sigma: FloatArray
    visible: FloatArray


@dataclass(frozen=True, slots=True)
class PerceivedErrors:
    """Of perception's predictions: rotations (B, T, 3, 3) of the root in the crop's axes, errors of the other entries
    (B, T, E), joints (B, T, K, 3) and depths (B, T, K), metres, with the
    logs of their σ (B, T, E), and of their variances (B, T, K) and (B, T)."""

    turn: FloatArray
    entries: FloatArray
    log_sigma: FloatArray
    joints_3d: FloatArray
    joints_log_variance: FloatArray
    joint_depth: FloatArray
    depth_log_variance: FloatArray


def keypoint_errors(
    places: FloatArray, inside: BoolArray, time_s: Float64Array, rng: np.random.Generator
) -> KeypointErrors:
    """For keypoints that are at `places` (B, T, K, 2) in crops, 0…1, `inside` (B, T, K) the picture or not."""
    count, frames, joints = inside.shape
    typical = _TYPICAL * np.exp(rng.normal(0, 0.5, (count, 1, 1)))
    of_joint = np.ones(joints)
    of_joint[_HEAD], of_joint[_HIPS] = 0.6, 1.7
    base = (typical * of_joint * np.exp(rng.normal(0, 0.25, (count, 1, joints)))).repeat(frames, 1)
    hidden = _stretches(time_s, rng, 0.1, 0.8, joints) & (rng.random((count, 1, 1)) < 0.5)
    lost = ~inside | (rng.random(inside.shape) < 0.06 * rng.random((count, 1, 1)))
    spread = np.where(lost, 0.1, np.where(hidden, _HIDDEN * np.exp(rng.normal(0, 0.4, base.shape)), base))
    wave = 0.65 * along(time_s, _SLOW_S, (joints, 2), rng) + 0.45 * along(time_s, _FAST_S, (joints, 2), rng)
    offset = spread[..., None] * (wave + 0.6 * rng.normal(0, 1, (count, 1, joints, 2)))
    jumps = _stretches(time_s, rng, 0.03, 0.2, joints) & (rng.random((count, 1, 1)) < 0.4)
    jump = _JUMP * rng.normal(0, 1, (count, 1, joints, 2)) * jumps[..., None]
    offset = offset + jump + _exchanged(places, time_s, rng)
    # Of those outside of the picture, a detector says that they are somewhere at its edge.
    edge = np.clip(places, 0.02, 0.98) - places
    offset = np.where(inside[..., None], offset, offset + edge * (rng.random((count, 1, 1, 1)) < 0.7))
    size = np.sqrt(spread**2 + 0.3 * np.square(jump).sum(-1))
    sigma = np.clip(size * np.exp(rng.normal(0, 0.35, size.shape) + rng.normal(0, 0.2, (count, 1, 1))), 0.003, 0.3)
    logit = np.where(inside, 2.5, -2.5) - 3 * hidden - 1.5 * jumps - 2.5 * (lost & inside)
    visible = 1 / (1 + np.exp(-logit - rng.normal(0, 1, size.shape)))
    return KeypointErrors(*(each.astype(np.float32) for each in (offset, sigma, visible)))


def perceived_errors(inside: BoolArray, time_s: Float64Array, rng: np.random.Generator) -> PerceivedErrors:
    """Of a person whose keypoints are `inside` (B, T, K) the picture or not."""
    count, frames, joints = inside.shape
    typical = np.concatenate(
        [np.full(group_slices()[name].stop - group_slices()[name].start, value) for name, value in _OF_ENTRIES.items()]
    )
    less = np.exp(rng.normal(-0.2, 0.45, (count, 1, 1))) * (1 + 0.8 * (~inside).mean(-1, keepdims=True))
    spread = typical * less * np.exp(rng.normal(0, 0.2, (count, 1, ENTRIES)))

    def errors(size: tuple[int, ...]) -> Float64Array:
        lasting = rng.normal(0, 0.65, (count, 1, *size))
        slow, fast = along(time_s, _ENTRIES_S, size, rng), along(time_s, _FAST_S, size, rng)
        return np.asarray(lasting + 0.65 * slow + 0.35 * fast)

    of_joints = _OF_JOINTS_M * less * np.exp(rng.normal(0, 0.2, (count, frames, joints)))
    of_depth = _OF_DEPTH_M * less
    vectors = _TURN * less[..., 0, None] * errors((3,))
    values = (
        axis_angle_to_matrix(torch.from_numpy(vectors)).numpy(),
        spread * errors((ENTRIES,)),
        np.log(spread) + rng.normal(0, 0.15, spread.shape),
        of_joints[..., None] * errors((joints, 3)) * (0.6, 0.6, 1.3),
        2 * np.log(of_joints) + rng.normal(0, 0.3, of_joints.shape),
        of_depth * errors((joints,)) - 0.06,
        2 * np.log(of_depth[..., 0]) + rng.normal(0, 0.3, of_depth.shape[:2]),
    )
    return PerceivedErrors(*(each.astype(np.float32) for each in values))


def along(time_s: Float64Array, lasting_s: float, size: tuple[int, ...], rng: np.random.Generator) -> Float64Array:
    """(B, T, *size) of unit variance, whose correlation falls to 1/e in so many seconds."""
    values = rng.normal(0, 1, (*time_s.shape, *size))
    kept = np.exp(-np.diff(time_s) / lasting_s).reshape(*time_s.shape[:1], -1, *(1 for _ in size))
    for frame in range(1, time_s.shape[1]):
        own = kept[:, frame - 1]
        values[:, frame] = own * values[:, frame - 1] + np.sqrt(1 - own**2) * values[:, frame]
    return values


def _stretches(time_s: Float64Array, rng: np.random.Generator, share: float, lasting_s: float, size: int) -> BoolArray:
    """(B, T, size) true for stretches of time that take this share of it."""
    wave = along(time_s, lasting_s, (size,), rng)
    return np.asarray(wave > np.sqrt(2) * _quantile(1 - 2 * share))


def _quantile(probability: float) -> float:
    """The inverse of the error function, by Winitzki."""
    log = np.log(1 - probability**2)
    half = 2 / (np.pi * 0.147) + log / 2
    return float(np.sqrt(np.sqrt(half**2 - log / 0.147) - half))


def _exchanged(places: FloatArray, time_s: Float64Array, rng: np.random.Generator) -> Float64Array:
    """(B, T, K, 2) offsets that put limbs of some frames where those of the other side are."""
    limbs = np.zeros((len(_LIMBS), places.shape[2]))
    for row, limb in enumerate(_LIMBS):
        limbs[row, list(limb)] = 1
    chosen = limbs[rng.integers(len(_LIMBS), size=len(places))] * (rng.random((len(places), 1)) < 0.15)
    when = _stretches(time_s, rng, 0.12, 0.15, 1)
    return np.asarray((places[:, :, MIRRORED_KEYPOINTS] - places) * (chosen[:, None] * when)[..., None])
