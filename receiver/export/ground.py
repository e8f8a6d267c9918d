"""Puts people on the ground: which feet stand, where, and legs that reach them.

A point of a sole stands where it is low and hardly moves in the image.  A logistic regression says how likely that is,
fitted to rendered clips that went through perception; hysteresis makes intervals of it.

Shapes: N frames, J joints, L = 2 legs, left and right, P = 4 points of the soles: heel and ball, left, then right.

Legs that reach feet which stand (Kovar et al., "Footskate Cleanup for Motion Capture Editing", 2002).

A foot that stands on heel and ball is flat, between the two; one that stands on either turns about it.  What that
changes of a foot fades before and after it stands.  The ground is y = 0.

Shapes: N frames.

Where the roots of people are, and the ground under their feet: one sparse least-squares problem for a whole clip.

Unknown are the root of every frame, the place of every stance, and the ground as a plane.  The image says well where a
root is across its line of sight, and less well how far away; it moves with small accelerations; a sole that stands has
zero velocity (Foxlin, "Pedestrian Tracking with Shoe-Mounted Inertial Sensors", 2005) and lies on the plane; the pose
says where soles are relative to the root; legs are no longer than they are.  Residuals have Huber's weights (1964),
and the plane is linearised, so it is solved again a few times (Gauss-Newton).

Shapes: N frames, K stances.

Puts people on the ground: one world of metres, y up, the floor at 0, in which feet that stand do not slide.

Where nobody is seen to stand, the camera is taken to be level, and the floor is where the lowest points of bodies
usually are: of somebody whose legs no camera sees, the soles of the pose that was generated for them.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation
from scipy.special import expit

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.frames import NEAR_M
from receiver.export.character import Character, Motion, Placement, continuous
from receiver.export.recorded_session import GAP_S
from receiver.mesh.posing import joint_transforms
from receiver.mesh.skinned_glb import Skeleton
from receiver.motion.leg_chain import LegChain

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


_FADES_S = 0.2
_UP = np.array([0.0, 1.0, 0.0])


def placed_legs(walker: Walker, roots: Float64Array, places: Mapping[Stance, Float64Array]) -> FloatArray:
    """The rotations (N, J, 4) of a walker whose soles stand at their places (3,).

    Args:
        roots: (N, 3) above the ground.
    """
    rotations = walker.motion.rotations.astype(np.float64)
    for leg, (hip, knee, ankle) in enumerate(walker.legs.tolist()):
        standing = np.full((len(roots), 2, 3), np.nan)
        for stance, place in places.items():
            if stance.leg == leg:
                standing[stance.frames, stance.point % 2] = place * [1, 0, 1]
        at = [roots + walker.positions[:, joint] for joint in (hip, knee, ankle)]
        turned, target = _placed_foot(walker, leg, at[2], standing)
        turns = np.stack([walker.orientations[:, hip], walker.orientations[:, knee], turned])
        chain = LegChain(at[0], at[1] - at[0], at[2] - at[1], turns)
        above = walker.orientations[:, walker.skeleton.parents[hip]]
        for joint, world in zip((hip, knee, ankle), chain.reaching(target, exactly=True), strict=True):
            rotations[:, joint] = Rotation.from_matrix(above.transpose(0, 2, 1) @ world).as_quat()
            above = world
    return continuous(rotations.astype(np.float32))


def _placed_foot(
    walker: Walker, leg: int, ankle: Float64Array, standing: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Orientations (N, 3, 3) of a foot, and where its ankle is (N, 3).

    Args:
        ankle: (N, 3) without places.
        standing: (N, 2, 3) places of heel and ball, NaN where they do not stand.
    """
    measured, (heel, ball) = walker.orientations[:, walker.legs[leg, 2]], walker.soles[leg]
    on_heel, on_ball = np.isfinite(standing[:, :, 0]).T
    flat = on_heel & on_ball
    along = np.where(flat[:, None], standing[:, 1] - standing[:, 0], [0.0, 0.0, 1.0])
    level = _frames(along) @ _frames((ball - heel)[None])[0].T
    turns = Rotation.from_matrix(level @ measured.transpose(0, 2, 1)).as_rotvec()
    turned = Rotation.from_rotvec(_faded(walker, turns, flat)).as_matrix() @ measured
    place = np.where(on_ball[:, None], standing[:, 1] - turned @ ball, standing[:, 0] - turned @ heel)
    target = ankle + _faded(walker, place - ankle, on_heel | on_ball)
    lowest = np.minimum((turned @ heel)[:, 1], (turned @ ball)[:, 1]) + target[:, 1]
    under = np.maximum(-lowest, 0) * walker.seen[:, 2 * leg]
    return turned, target + under[:, None] * _UP


def _frames(along: Float64Array) -> Float64Array:
    """(N, 3, 3) axes of soles that point along vectors (N, 3), upright."""
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(_UP, along)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return np.stack([across, np.cross(along, across), along], axis=2)


def _faded(walker: Walker, change: Float64Array, known: BoolArray) -> Float64Array:
    """(N, 3) changes where they are known; between, what they were fades out and what they will be fades in."""
    times_s = walker.motion.times_s
    faded = np.zeros_like(change)
    for part in segments(times_s):
        rows = np.flatnonzero(known[part]) + part.start
        if not len(rows):
            continue
        frames = np.arange(part.start, part.stop)
        number = np.searchsorted(rows, frames, side="right")
        before, after = rows[np.maximum(number - 1, 0)], rows[np.minimum(number, len(rows) - 1)]
        since = np.where(number > 0, times_s[frames] - times_s[before], np.inf)
        until = np.where(number < len(rows), times_s[after] - times_s[frames], np.inf)
        # In a short gap one change becomes the other; in a long one there is none in the middle.
        length = np.minimum(since + until, _FADES_S)
        out, into = (_eased(1 - each / np.maximum(length, 1e-9)) for each in (since, until))
        faded[part] = out[:, None] * change[before] + into[:, None] * change[after]
    faded[known] = change[known]
    return faded


def _eased(share: Float64Array) -> Float64Array:
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


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


# What the neck's mean place over the ankles says of the vertical is 5° wrong, and most cameras are nearly level.
_UPRIGHT = 0.5
# Of the lowest points of people's soles, whose lower third jitter lowers.
_LOW = 35
_ROUNDS = 3
# Shorter than this, all points of soles together, people have not been seen to stand.
_LEAST_S = 0.6
# Of a person whose lowest points are looked at.
_FRAMES = 100


def grounded(characters: Sequence[Character]) -> tuple[list[Character], Placement]:
    """Characters on their common ground, and where the camera is."""
    walkers = {index: walker for index, one in enumerate(characters) if (walker := Walker.from_character(one))}
    people = list(walkers.values())
    solution = _solved(people) if people else None
    placement = _placement(_level_ground(characters) if solution is None else solution.ground)
    moved = [
        dataclasses.replace(one, motion=_moved(one.motion, one.motion.root_positions, placement)) for one in characters
    ]
    if solution is None:
        return moved, placement
    for person, (index, walker) in enumerate(walkers.items()):
        on_floor = dataclasses.replace(
            walker,
            motion=_moved(walker.motion, solution.roots[person], placement),
            orientations=placement.rotation @ walker.orientations,
            positions=walker.positions @ placement.rotation.T,
        )
        roots = on_floor.motion.root_positions.astype(np.float64)
        places = {
            stance: placement.rotation @ place + placement.position
            for (owner, stance), place in solution.places.items()
            if owner == person
        }
        motion = dataclasses.replace(on_floor.motion, rotations=placed_legs(on_floor, roots, places))
        moved[index] = dataclasses.replace(characters[index], motion=motion)
    return moved, placement


def in_place(character: Character) -> Character:
    """The character without the horizontal path of its root."""
    root_positions = character.motion.root_positions * np.array([0, 1, 0], np.float32)
    return dataclasses.replace(character, motion=dataclasses.replace(character.motion, root_positions=root_positions))


def _solved(walkers: Sequence[Walker]) -> Solution | None:
    """Roots, stances and ground; None if nobody stands."""
    upright = np.median(np.concatenate([walker.upright for walker in walkers]), axis=0)
    up = _UPRIGHT * upright / np.linalg.norm(upright) + (1 - _UPRIGHT) * np.array([0.0, 1.0, 0.0])
    up /= np.linalg.norm(up)
    measured = [walker.motion.root_positions.astype(np.float64) for walker in walkers]
    solution = solve(walkers, [[] for _ in walkers], Solution(Ground(up, 0.0), measured), up)
    lowest = [
        ((roots[:, None] + walker.points) @ up).min(axis=1)
        for walker, roots in zip(walkers, solution.roots, strict=True)
    ]
    solution.ground = Ground(up, float(np.percentile(np.concatenate(lowest), _LOW)))
    for _ in range(_ROUNDS):
        ground = solution.ground
        stances = [
            walker.stances(roots, ground.up, ground.level_m)
            for walker, roots in zip(walkers, solution.roots, strict=True)
        ]
        standing_s = sum(
            (stance.last - stance.first) / walker.motion.frame_rate
            for walker, own in zip(walkers, stances, strict=True)
            for stance in own
        )
        if standing_s < _LEAST_S:
            return None
        solution = solve(walkers, stances, solution, up)
    return solution


def _level_ground(characters: Sequence[Character]) -> Ground:
    """The ground of people of whom nobody is seen to stand."""
    return Ground(np.array([0.0, 1.0, 0.0]), float(np.median(np.concatenate([_lowest_m(one) for one in characters]))))


def _lowest_m(character: Character) -> Float64Array:
    """Heights of the body's lowest points in some of its frames."""
    skeleton, motion, offsets = character.skeleton, character.motion, character.offsets
    frames = np.unique(np.linspace(0, len(motion) - 1, _FRAMES).astype(np.intp))
    orientations, positions = joint_transforms(motion.rotations[frames], skeleton.parents.tolist(), offsets)
    joints, weights = skeleton.vertex_joints, skeleton.vertex_weights
    around = character.mesh.vertices[:, None] - character.rest_positions[joints]
    lowest_m = [
        (weights * (position[joints, 1] + (orientation[joints, 1] * around).sum(axis=2))).sum(axis=1).min()
        for orientation, position in zip(orientations, positions, strict=True)
    ]
    return np.asarray(lowest_m + motion.root_positions[frames, 1])


def _placement(ground: Ground) -> Placement:
    rotation, _ = Rotation.align_vectors([[0.0, 1.0, 0.0]], [ground.up])
    return Placement(np.asarray(rotation.as_matrix()), -ground.level_m)


def _moved(motion: Motion, roots: FloatArray | Float64Array, placement: Placement) -> Motion:
    """The motion in the world, with other roots (N, 3)."""
    rotations = motion.rotations.copy()
    turned = Rotation.from_matrix(placement.rotation) * Rotation.from_quat(rotations[:, 0])
    rotations[:, 0] = turned.as_quat().astype(np.float32)
    return dataclasses.replace(motion, rotations=continuous(rotations), root_positions=placement.placed(roots))
