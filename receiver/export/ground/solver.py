"""Where the roots of people are, and the ground under their feet: one sparse least-squares problem for a whole clip.

Unknown are the root of every frame, the place of every stance, and the ground as a plane.  The image says well where a
root is across its line of sight, and less well how far away; it moves with small accelerations; a sole that stands has
zero velocity (Foxlin, "Pedestrian Tracking with Shoe-Mounted Inertial Sensors", 2005) and lies on the plane; the pose
says where soles are relative to the root; legs are no longer than they are.  Residuals have Huber's weights (1964),
and the plane is linearised, so it is solved again a few times (Gauss-Newton).

Shapes: N frames, K stances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import splu

from common.arrays import Float64Array, IntArray
from common.frames import NEAR_M
from receiver.export.ground.walker import Stance, Walker, segments

_ITERATIONS = 3
# Standard deviations of a root at a metre: across its line of sight, and along it.
_ACROSS, _ALONG = 0.004, 0.017
# Of accelerations along the axes of the camera: people jump, but hardly rush.
_ACCELERATIONS_MPS2 = (2.0, 8.0, 2.0)
# Of the pose: where a sole is relative to the root, and how that changes in a frame, metres.
_POSE_M, _STEP_M = 0.028, 0.016
# Neighbouring frames are wrong alike: a stance has no more independent observations of its pose than this.
_INDEPENDENT = 6
_FLOOR_M, _REACH_M = 0.01, 0.004
_STRAIGHTEST = 0.995
_TILT = np.radians(1.5)
_AXES = np.arange(3)
_DIFFERENCE = np.array([1.0, -1.0])


@dataclass(frozen=True, slots=True)
class Ground:
    """A plane: the points whose product with the unit vector `up` (3,) is `level_m`; camera at the origin, y up."""

    up: Float64Array
    level_m: float


@dataclass(slots=True)
class Solution:
    """Roots (N, 3) of each person, and the place (3,) of each stance by person and stance."""

    ground: Ground
    roots: list[Float64Array]
    places: Mapping[tuple[int, Stance], Float64Array] = field(default_factory=dict)


class _Rows:
    """Weighted rows of a linear least-squares problem of `size` unknowns."""

    def __init__(self, size: int) -> None:
        self._size, self._count = size, 0
        self._parts: list[tuple[IntArray, IntArray, Float64Array]] = []
        self._right: list[Float64Array] = []

    def add(self, columns: IntArray, factors: npt.ArrayLike, right: Float64Array, weight: npt.ArrayLike) -> None:
        """M rows: columns (M, Q), factors (M, Q), right sides (M,), and one over the standard deviation of each."""
        weights = np.broadcast_to(weight, len(right))
        rows = np.repeat(np.arange(self._count, self._count + len(right)), columns.shape[1])
        spread = np.broadcast_to(np.asarray(factors, np.float64), columns.shape)
        self._parts.append((rows, columns.ravel(), (spread * weights[:, None]).ravel()))
        self._right.append(right * weights)
        self._count += len(right)

    def solved(self) -> Float64Array:
        rows, columns, factors = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        matrix = coo_array((factors, (rows, columns)), shape=(self._count, self._size)).tocsr()
        normal = (matrix.T @ matrix + 1e-9 * eye_array(self._size)).tocsc()
        # The matrix is symmetric and positive definite: it needs no pivots.
        factored = splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return np.asarray(factored.solve(matrix.T @ np.concatenate(self._right)))


def solve(
    walkers: Sequence[Walker], stances: Sequence[Sequence[Stance]], start: Solution, expected_up: Float64Array
) -> Solution:
    """Improves a solution.

    Args:
        stances: of each walker.
        expected_up: (3,) what is known of the ground's normal without the stances.
    """
    solution = Solution(start.ground, start.roots, _first_places(walkers, stances, start.roots))
    for _ in range(_ITERATIONS):
        solution = _improved(walkers, solution, expected_up)
    return solution


def _first_places(
    walkers: Sequence[Walker], stances: Sequence[Sequence[Stance]], roots: Sequence[Float64Array]
) -> dict[tuple[int, Stance], Float64Array]:
    return {
        (person, stance): np.median(roots[person][stance.frames] + walker.points[stance.frames, stance.point], axis=0)
        for person, walker in enumerate(walkers)
        for stance in stances[person]
    }


def _improved(walkers: Sequence[Walker], before: Solution, expected_up: Float64Array) -> Solution:
    firsts = np.cumsum([0, *(3 * len(walker.motion) for walker in walkers)])
    columns = {key: firsts[-1] + 3 * number + _AXES for number, key in enumerate(before.places)}
    plane = firsts[-1] + 3 * len(columns) + _AXES
    rows = _Rows(int(plane[-1]) + 1)
    for person, walker in enumerate(walkers):
        own = firsts[person] + np.arange(3 * len(walker.motion)).reshape(-1, 3)
        _add_measured(rows, walker, own, before.roots[person])
        _add_accelerations(rows, walker, own)
        for key, place in before.places.items():
            if key[0] == person:
                _add_stance(rows, walker, own, key[1], columns[key], place, before.roots[person])
    up, level_m = before.ground.up, before.ground.level_m
    tilts = _tangents(up)
    for key, place in before.places.items():
        factors = np.concatenate([up, tilts @ place, [-1.0]])
        rows.add(np.concatenate([columns[key], plane])[None], factors[None], np.zeros(1), 1 / _FLOOR_M)
    rows.add(plane[:2, None], np.ones((2, 1)), tilts @ expected_up, 1 / _TILT)
    rows.add(plane[2:, None], np.ones((1, 1)), np.array([level_m]), 1e-3)
    found = rows.solved()
    normal = up + found[plane[:2]] @ tilts
    roots = [found[first:last].reshape(-1, 3) for first, last in pairwise(firsts)]
    ground = Ground(normal / np.linalg.norm(normal), float(found[plane[2]]))
    return Solution(ground, roots, {key: found[columns[key]] for key in before.places})


def _add_measured(rows: _Rows, walker: Walker, own: IntArray, roots: Float64Array) -> None:
    """Where the image shows the root, weakly along the line of sight."""
    measured = walker.motion.root_positions.astype(np.float64)
    distance_m = np.maximum(np.linalg.norm(measured, axis=1), NEAR_M)
    sight = measured / distance_m[:, None]
    side = np.cross(sight, [0.0, 1.0, 0.0])
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
    for direction, deviation in ((side, _ACROSS), (np.cross(side, sight), _ACROSS), (sight, _ALONG)):
        residual = ((roots - measured) * direction).sum(axis=1) / (deviation * distance_m)
        weight = _huber(residual, 2.0) / (deviation * distance_m)
        rows.add(own, direction, (measured * direction).sum(axis=1), weight)


def _add_accelerations(rows: _Rows, walker: Walker, own: IntArray) -> None:
    for part in segments(walker.motion.times_s):
        steps, columns = np.diff(walker.motion.times_s[part]), own[part]
        before, after = 1 / steps[:-1], 1 / steps[1:]
        factors = np.stack([before, -before - after, after], axis=1) * 2 / (steps[1:] + steps[:-1])[:, None]
        triples = np.stack([columns[:-2], columns[1:-1], columns[2:]], axis=2).reshape(-1, 3)
        weights = np.tile(1 / np.array(_ACCELERATIONS_MPS2), len(factors))
        rows.add(triples, factors.repeat(3, axis=0), np.zeros(len(triples)), weights)


def _add_stance(
    rows: _Rows,
    walker: Walker,
    own: IntArray,
    stance: Stance,
    column: IntArray,
    place: Float64Array,
    roots: Float64Array,
) -> None:
    """A sole that stands still, where the pose has it, and no further from the hip than the leg is long."""
    frames, root = own[stance.frames], roots[stance.frames]
    sole = walker.points[stance.frames, stance.point]
    independent = np.sqrt(min(len(sole), _INDEPENDENT) / len(sole))
    pairs = np.stack([np.broadcast_to(column, frames.shape), frames], axis=2).reshape(-1, 2)
    weights = independent / _POSE_M * _huber((place - root - sole) / _POSE_M, 1.5)
    rows.add(pairs, _DIFFERENCE, sole.ravel(), weights.ravel())
    pairs = np.stack([frames[1:], frames[:-1]], axis=2).reshape(-1, 2)
    step = np.diff(sole, axis=0)
    weights = _huber((np.diff(root, axis=0) + step) / _STEP_M, 1.5) / _STEP_M
    rows.add(pairs, _DIFFERENCE, -step.ravel(), weights.ravel())
    hip, _, ankle = walker.legs[stance.leg]
    from_hip = walker.positions[stance.frames, ankle] - walker.positions[stance.frames, hip] - sole
    leg = place - root + from_hip
    length, longest = np.linalg.norm(leg, axis=1), walker.reach_m[stance.leg]
    far = length > longest * (1 + _STRAIGHTEST) / 2
    along = leg[far] / length[far, None]
    both = np.concatenate([np.tile(column, (int(far.sum()), 1)), frames[far]], axis=1)
    right = longest * _STRAIGHTEST - (along * from_hip[far]).sum(axis=1)
    rows.add(both, np.concatenate([along, -along], axis=1), right, 1 / _REACH_M)


def _tangents(up: Float64Array) -> Float64Array:
    """(2, 3) unit vectors across a unit vector that is not along z."""
    first = np.cross(up, [0.0, 0.0, 1.0])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(first, up)])


def _huber(residual: Float64Array, most: float) -> Float64Array:
    """Roots of Huber's weights of residuals in standard deviations."""
    return np.asarray(np.sqrt(most / np.maximum(np.abs(residual), most)))
