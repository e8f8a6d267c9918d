"""The body parameters that the labels carry, as numbers of a fixed number of bits.

73 numbers are sent with every frame: the rotation vectors of 22 joints, four curls of the hands, the position.  The
58 numbers of `shape`, `appearance` and `surface` are sent with the first frame and when they change, by the codec's
rule, as in `tests.bench.rate`.  B bits cover ±π radians, ±8 m and ±5 σ: their steps are the range over 2^B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.model import BodyParameters
from common.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from common.labels import GROUP_BY_NAME, group_slices
from tests.bench.rate import SLOW_GROUPS, SlowGroups

JOINTS, CURLS = 22, 4
FAST_SIZE = 3 * JOINTS + CURLS + 3
SLOW_SIZES: Mapping[str, int] = {name: GROUP_BY_NAME[name].size for name in SLOW_GROUPS}
_ANGLE_RANGE, _POSITION_RANGE_M, _SLOW_RANGE_SIGMA = np.pi, 8.0, 5.0
_TURN = 2 * np.pi
# Below this angle a rotation vector has no axis, radians.
_NO_ANGLE = 1e-6


@dataclass(frozen=True, eq=False)
class Numbers:
    """One frame as integers.

    Args:
        fast: (FAST_SIZE,) steps.
        slow: the slow groups that go with this frame, in steps.
    """

    fast: IntArray
    slow: Mapping[str, IntArray]

    def same(self, other: "Numbers") -> bool:
        """Whether both have the same numbers."""
        return (
            np.array_equal(self.fast, other.fast)
            and self.slow.keys() == other.slow.keys()
            and all(np.array_equal(values, other.slow[name]) for name, values in self.slow.items())
        )


def fast_steps(bits: int) -> Float64Array:
    """(FAST_SIZE,) quantiser steps in radians and metres."""
    ranges = np.full(FAST_SIZE, _ANGLE_RANGE)
    ranges[-3:] = _POSITION_RANGE_M
    return np.asarray(2 * ranges / (1 << bits))


def slow_step(bits: int) -> float:
    """The quantiser step of slow numbers, in σ."""
    return 2 * _SLOW_RANGE_SIGMA / (1 << bits)


def fast_vectors(parameters: BodyParameters) -> Float64Array:
    """(T, FAST_SIZE) rotation vectors of length ≤ π, curls, position."""
    vectors = matrix_to_axis_angle(parameters.rotations).flatten(1)
    return np.asarray(torch.cat([vectors, parameters.curl, parameters.translation], 1).numpy(), np.float64)


def unwrapped(vectors: Float64Array) -> Float64Array:
    """`fast_vectors` with each rotation vector exchanged for the equivalent one that is nearest to its predecessor.

    A rotation by more than π is then no jump, which prediction needs.
    """
    result = vectors.copy()
    turns = result[:, : 3 * JOINTS].reshape(len(result), JOINTS, 3)
    for number in range(1, len(turns)):
        angle = np.linalg.norm(turns[number], axis=1, keepdims=True)
        before = turns[number - 1]
        length = np.maximum(np.linalg.norm(before, axis=1, keepdims=True), 1e-9)
        axis = np.where(angle > _NO_ANGLE, turns[number] / np.maximum(angle, _NO_ANGLE), before / length)
        # The multiple of a full turn that brings the vector nearest to the last one.
        along = (axis * before).sum(1, keepdims=True)
        turns[number] += np.rint((along - angle) / _TURN) * _TURN * axis
    return result


def quantised(labels: FloatArray, fast: Float64Array, bits: int) -> list[Numbers]:
    """The frames of a clip as integers.

    Args:
        labels: (T, LABEL_SIZE), of which the slow groups are sent as they are.
        fast: (T, FAST_SIZE) parameters.
    """
    step, top = slow_step(bits), 2 ** (bits - 1) - 1
    rule = SlowGroups(step)
    received = np.zeros_like(labels[0])
    steps = np.rint(fast / fast_steps(bits)).astype(np.int64)
    frames = []
    for number, row in enumerate(labels):
        slow = {}
        for name in rule.due(number, row, received):
            where = group_slices()[name]
            slow[name] = np.clip(np.rint(row[where] / step), -top - 1, top).astype(np.int64)
            received[where] = slow[name] * step
        frames.append(Numbers(steps[number], slow))
    return frames


def received(frames: Sequence[Numbers], bits: int) -> BodyParameters:
    """The bodies that a receiver has after each frame; `shape` is what was last sent of it."""
    fast = np.stack([frame.fast for frame in frames]) * fast_steps(bits)
    shapes: list[Float64Array] = []
    shape: Float64Array = np.zeros(SLOW_SIZES["shape"])
    for frame in frames:
        if "shape" in frame.slow:
            shape = np.asarray(frame.slow["shape"] * slow_step(bits), np.float64)
        shapes.append(shape)
    return bodies_of(fast, np.stack(shapes))


def bodies_of(fast: Float64Array, shape: Float64Array) -> BodyParameters:
    """Bodies from vectors (T, FAST_SIZE), as `fast_vectors` gives them, and shapes (T, 10)."""
    vectors = torch.from_numpy(fast).float()
    rotations = axis_angle_to_matrix(vectors[:, : 3 * JOINTS].reshape(-1, JOINTS, 3))
    return BodyParameters(rotations, vectors[:, 3 * JOINTS : -3], torch.from_numpy(shape).float(), vectors[:, -3:])
