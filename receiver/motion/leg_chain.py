"""Legs of two bones that reach for places, and the vectors of their rotations.

Shapes: L legs; a leg has 3 joints: hip, knee, ankle.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Float64Array

# Lengths of a leg over that of a straight one: knees neither fold nor lock.
_SHORTEST, _LONGEST = 0.3, 0.9995
# Sine of the angle of the knee below which its axis is that of the thigh.
_STRAIGHT = 0.05
_TINY = 1e-9
# (3, 9): the entries of the matrix that multiplies as each axis does in a vector product.
_GENERATORS = -np.array([np.cross(np.eye(3)[axis], np.eye(3)) for axis in range(3)]).reshape(3, 9)


@dataclass(frozen=True, eq=False)
class LegChain:
    """Legs in one space, metres.

    Args:
        hips: (L, 3) positions.
        thigh, shin: (L, 3) from the hips to the knees, from the knees to the ankles.
        turns: (3, L, 3, 3) orientations of thighs, shins and feet.
    """

    hips: Float64Array
    thigh: Float64Array
    shin: Float64Array
    turns: Float64Array

    @property
    def ankles(self) -> Float64Array:
        """(L, 3) positions."""
        return np.asarray(self.hips + self.thigh + self.shin)

    def reaching(self, ankles: Float64Array, *, exactly: bool = False) -> Float64Array:
        """(3, L, 3, 3) orientations of the legs whose ankles are at positions (L, 3), or as near as they reach.

        The knee bends about the axis about which it is bent; then the leg turns about the hip.  The foot keeps its
        orientation (two-bone inverse kinematics).  Unless they must reach exactly, straight knees bend less than that
        takes: they would move by a multiple of what the ankles do.
        """
        thighs, shins, feet = self.turns
        squares = np.square(self.thigh).sum(1), np.square(self.shin).sum(1)
        product = np.sqrt(squares[0] * squares[1])
        longest, wanted = np.sqrt(squares[0]) + np.sqrt(squares[1]), ankles - self.hips
        across, is_long = applied(_cross(self.thigh), self.shin), _norms(self.thigh + self.shin)
        to_be = _norms(wanted).clip(_SHORTEST * longest, _LONGEST * longest)
        if not exactly:
            to_be = is_long + _norms(across) / product * (to_be - is_long)
        cosines = (squares[0] + squares[1] - np.square([is_long, to_be])) / (2 * product)
        now, bent = np.arccos(cosines.clip(-1, 1))
        straight = _norms(across) < _STRAIGHT * product
        across = np.where(straight[:, None], thighs[..., 0], across)
        bend = matrices_of((now - bent)[:, None] * across / _norms(across)[:, None])
        swing = between(self.thigh + applied(bend, self.shin), wanted)
        return np.stack([swing @ thighs, swing @ bend @ shins, feet])


def between(start: Float64Array, end: Float64Array) -> Float64Array:
    """(L, 3, 3) the shortest rotations from vectors (L, 3) to others, which point nearly alike."""
    lengths = np.sqrt(np.square(start).sum(1) * np.square(end).sum(1))
    axis = applied(_cross(start), end) / lengths[:, None]
    cross = _cross(axis)
    cosine = (start * end).sum(1) / lengths
    return np.asarray(np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, _TINY)[:, None, None])


def applied(matrices: Float64Array, vectors: Float64Array) -> Float64Array:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _norms(vectors: Float64Array) -> Float64Array:
    return np.asarray(np.sqrt(np.square(vectors).sum(1)))


def _cross(vectors: Float64Array) -> Float64Array:
    """(..., 3) a → (..., 3, 3), which multiplies as a × does."""
    return np.asarray(vectors @ _GENERATORS).reshape(*vectors.shape, 3)


def matrices_of(vectors: Float64Array) -> Float64Array:
    """Rotation vectors (..., 3), radians → (..., 3, 3), by Rodrigues' formula."""
    squares = np.square(vectors).sum(-1)[..., None, None] + _TINY**2
    angle, cross = np.sqrt(squares), _cross(vectors)
    return np.asarray(np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / squares * (cross @ cross))


def vectors_of(matrices: Float64Array) -> Float64Array:
    """The inverse of `matrices_of`, of angles below 180°."""
    flat = matrices.reshape(*matrices.shape[:-2], 9)
    axis = flat @ _GENERATORS.T / 2
    sine = np.sqrt(np.square(axis).sum(-1)) + _TINY
    angle = np.arctan2(sine, (flat[..., 0] + flat[..., 4] + flat[..., 8] - 1) / 2)
    return np.asarray(axis * (angle / sine)[..., None])
