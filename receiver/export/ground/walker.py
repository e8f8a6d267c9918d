"""A person's feet: where the soles of a motion are, and which of them stand.

A point of a sole stands where it is low and hardly moves in the image.  A logistic regression says how likely that is,
fitted to rendered clips that went through perception; hysteresis makes intervals of it.

Shapes: N frames, J joints, L = 2 legs, left and right, P = 4 points of the soles: heel and ball, left, then right.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import expit

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.frames import NEAR_M
from receiver.export.character import Character, Motion
from receiver.export.timeline import GAP_S
from receiver.mesh.posing import joint_transforms
from receiver.mesh.skinned_glb import Skeleton

_LEGS = tuple((f"upperleg01.{side}", f"lowerleg01.{side}", f"foot.{side}") for side in "LR")
_CHEST = "neck01"
# The sole is what is this near to the lowest vertex of a foot; heel and ball are at shares of its length.
_SOLE_M, _HEEL, _BALL = 0.02, 0.08, 0.72
# Gaussians over time: what jitters faster is noise of perception.
_POSE_S, _SPEED_S = 0.05, 0.083
# By how much filters delay the pose, and the distance, of motions that are not timely.
_LATE_S, _DISTANCE_LATE_S = 1 / 30, 0.23
# Of the logistic regression: of 1, of metres above the ground, of metres above the lowest point, and of ln(m/s + 0.05).
_INTERCEPT, _HEIGHT, _LIFT, _SPEED = -1.05, -8.0, -8.5, -1.2
_SPEED_FLOOR_MPS = 0.05
# Probabilities at which standing begins and ends, and the least frames of it.
_BEGINS, _ENDS, _FEWEST = 0.6, 0.4, 3
# What is higher above the ground, or above the lowest point, does not stand, however still it is.
_HIGHEST_M, _MOST_LIFTED_M = 0.12, 0.08


@dataclass(frozen=True, slots=True)
class Stance:
    """A point of a sole that stands in the frames `first` to `last`, of which `last` is the first after it."""

    point: int
    first: int
    last: int

    @property
    def leg(self) -> int:
        """0 for the left one."""
        return self.point // 2

    @property
    def frames(self) -> slice:
        return slice(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Walker:
    """The motion of a person, smoothed as far as it moves the feet.

    Args:
        motion: with smooth rotations of pelvis and legs, and without the delay of filters.
        legs: (L, 3) the joints of hips, knees and ankles.
        orientations, positions: of the joints, (N, J, 3, 3) and relative to the root (N, J, 3) metres.
        soles: (L, 2, 3) heel and ball in the frame of the ankle, metres.
        points: (N, P, 3) of the soles relative to the root, metres.
        seen: (N, P) whether a camera sees the leg of each point.
    """

    motion: Motion
    skeleton: Skeleton
    legs: IntArray
    orientations: Float64Array
    positions: Float64Array
    soles: Float64Array
    points: Float64Array
    seen: BoolArray

    @classmethod
    def from_character(cls, character: Character) -> Self | None:
        """None for a skeleton without our body's legs, or without vertices at its feet."""
        skeleton, names = character.skeleton, character.skeleton.names
        if not {_CHEST, *_LEGS[0], *_LEGS[1]} <= set(names):
            return None
        legs = np.array([[names.index(joint) for joint in leg] for leg in _LEGS])
        found = [_sole(character, ankle) for ankle in legs[:, 2].tolist()]
        if found[0] is None or found[1] is None:
            return None
        soles = np.array(found)
        motion = _smoothed(character.motion, [0, *legs.ravel()])
        if not character.timely:
            motion = _timely(motion)
        orientations, positions = joint_transforms(motion.rotations, skeleton.parents.tolist(), character.offsets)
        points = positions[:, legs[:, 2], None] + np.einsum("nlab,lpb->nlpa", orientations[:, legs[:, 2]], soles)
        seen = np.ones((len(motion), 2), np.bool_) if motion.legs_seen is None else motion.legs_seen
        points = points.reshape(len(motion), 4, 3)
        return cls(motion, skeleton, legs, orientations, positions, soles, points, seen.repeat(2, axis=1))

    @property
    def reach_m(self) -> Float64Array:
        """(L,) lengths of the legs from hip to ankle."""
        bones = np.diff(self.positions[0, self.legs], axis=1)
        return np.asarray(np.linalg.norm(bones, axis=2).sum(axis=1))

    @property
    def upright(self) -> Float64Array:
        """(N, 3) unit vectors from the ankles to the neck: a standing person's mean one is vertical within 5°."""
        neck = self.positions[:, self.skeleton.names.index(_CHEST)]
        return _unit(neck - self.positions[:, self.legs[:, 2]].mean(axis=1))

    def stances(self, roots: Float64Array, up: Float64Array, level_m: float) -> list[Stance]:
        """The stances on a ground.

        Args:
            roots: (N, 3) metres.
            up: (3,) unit normal of the ground.
            level_m: the ground's points have this product with `up`.
        """
        heights = (roots[:, None] + self.points) @ up - level_m
        lifts = heights - heights.min(axis=1, keepdims=True)
        score = _INTERCEPT + _HEIGHT * heights + _LIFT * lifts + _SPEED * np.log(self._speeds() + _SPEED_FLOOR_MPS)
        low = self.seen & (heights < _HIGHEST_M) & (lifts < _MOST_LIFTED_M)
        likely = np.where(low, expit(score), 0.0)
        return [
            Stance(point, first, last)
            for point in range(4)
            for part in segments(self.motion.times_s)
            for first, last in _runs(likely[part, point] > _ENDS, part.start)
            if last - first >= _FEWEST and (likely[first:last, point] > _BEGINS).any()
        ]

    def _speeds(self) -> Float64Array:
        """(N, P) metres a second across the lines of sight, which perception knows better than what is along them."""
        places = self.motion.root_positions[:, None].astype(np.float64) + self.points
        distance_m = np.maximum(np.linalg.norm(places, axis=2, keepdims=True), NEAR_M)
        sights = _filtered(places / distance_m, self.motion, _SPEED_S)
        if len(sights) < 2:
            return np.zeros(sights.shape[:2])
        speeds = distance_m * np.gradient(sights, self.motion.times_s, axis=0)
        return np.asarray(np.linalg.norm(speeds, axis=2))


def segments(times_s: Float64Array) -> list[slice]:
    """The parts of a motion between gaps."""
    breaks = np.flatnonzero(np.diff(times_s) > GAP_S) + 1
    edges = [0, *breaks.tolist(), len(times_s)]
    return [slice(first, last) for first, last in pairwise(edges)]


def _runs(mask: BoolArray, offset: int) -> Iterator[tuple[int, int]]:
    """Where a mask is true: first index, and the one after the last, with an offset."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))) + offset
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _smoothed(motion: Motion, joints: list[int]) -> Motion:
    rotations = motion.rotations.copy()
    smooth = _filtered(rotations[:, joints].astype(np.float64), motion, _POSE_S)
    rotations[:, joints] = _unit(smooth).astype(np.float32)
    return dataclasses.replace(motion, rotations=rotations)


def _timely(motion: Motion) -> Motion:
    """The motion as it was at its times."""
    roots = motion.root_positions.astype(np.float64)
    distance_m = np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), NEAR_M)
    roots = _later(roots / distance_m, motion, _LATE_S) * _later(distance_m, motion, _DISTANCE_LATE_S)
    rotations = _unit(_later(motion.rotations, motion, _LATE_S))
    return dataclasses.replace(motion, rotations=rotations.astype(np.float32), root_positions=roots.astype(np.float32))


def _later(values: FloatArray | Float64Array, motion: Motion, by_s: float) -> Float64Array:
    """(N, …) what they are after a time, or at the end of their segment."""
    moved = np.empty(values.shape)
    for part in segments(motion.times_s):
        times_s, last = motion.times_s[part], part.stop - part.start - 1
        place = np.interp(times_s + by_s, times_s, np.arange(last + 1))
        row = place.astype(np.intp)
        share = (place - row).reshape(-1, *[1] * (values.ndim - 1))
        moved[part] = (1 - share) * values[part][row] + share * values[part][np.minimum(row + 1, last)]
    return moved


def _filtered(values: Float64Array, motion: Motion, sigma_s: float) -> Float64Array:
    """(N, …) after a Gaussian over time, which has no delay."""
    sigma = sigma_s * motion.frame_rate
    return np.concatenate(
        [gaussian_filter1d(values[part], sigma, axis=0, mode="nearest") for part in segments(motion.times_s)]
    )


def _unit(vectors: Float64Array) -> Float64Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _sole(character: Character, ankle: int) -> Float64Array | None:
    """(2, 3) heel and ball of a foot, with its shoe, relative to the ankle; None if it has no vertices."""
    foot = character.mesh.vertices[character.skeleton.vertex_joints[:, 0] == ankle].astype(np.float64)
    if not len(foot):
        return None
    lowest = foot[:, 1].min()
    sole = foot[foot[:, 1] < lowest + _SOLE_M]
    back, front = np.percentile(sole[:, 2], [2, 98])
    points = [[sole[:, 0].mean(), lowest, back + share * (front - back)] for share in (_HEEL, _BALL)]
    return np.asarray(np.array(points) - character.rest_positions[ankle])
