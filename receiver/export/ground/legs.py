"""Legs that reach feet which stand (Kovar et al., "Footskate Cleanup for Motion Capture Editing", 2002).

A foot that stands on heel and ball is flat, between the two; one that stands on either turns about it.  What that
changes of a foot fades before and after it stands.  The ground is y = 0.

Shapes: N frames.
"""

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray
from receiver.export.character import continuous
from receiver.export.ground.walker import Stance, Walker, segments
from receiver.motion.leg_chain import LegChain

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
