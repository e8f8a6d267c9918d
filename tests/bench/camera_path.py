"""Cameras that are fixed, shaken by the hand that holds them, or carried round a person.

A hand turns its camera about each axis, and moves it along each, as a sum of sines of 0.3 to 3 Hz, slow ones the
largest.

Shapes: T frames.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.frames import Camera

Hold = Literal["fixed", "shaken", "carried"]
HOLDS: tuple[Hold, ...] = ("fixed", "shaken", "carried")
_LEAST_HZ, _MOST_HZ, _SINES = 0.3, 3.0, 12
# Root mean squares about and along each axis, and the speed of who walks with a camera.
_TURN_RAD, _MOVE_M = np.radians(1.2), 0.02
_WALK_MPS = 0.5
# The wall behind a person, for the picture of the room.
_WALL_M = 2.0


@dataclass(frozen=True, eq=False)
class CameraPath:
    """Where a camera is: at `positions` (T, 3), metres; `turns` (T, 3, 3) bring the world's axes to the camera's."""

    turns: Float64Array
    positions: Float64Array

    @classmethod
    def drawn(cls, rng: np.random.Generator, hold: Hold, around: Float64Array, times_s: Float64Array) -> Self:
        """A path near the origin.

        Args:
            around: (3,) what a carried camera goes round, and looks at.
            times_s: (T,).
        """
        if hold == "fixed":
            return cls(np.tile(np.eye(3), (len(times_s), 1, 1)), np.zeros((len(times_s), 3)))
        turns = Rotation.from_rotvec(_TURN_RAD * _wandering(rng, times_s))
        positions = _MOVE_M * _wandering(rng, times_s)
        if hold == "carried":
            centre = around * [1, 0, 1]
            angles = rng.choice([-1, 1]) * _WALK_MPS / np.linalg.norm(centre) * times_s
            orbit = Rotation.from_rotvec(angles[:, None] * [0.0, 1.0, 0.0])
            turns, positions = turns * orbit.inv(), centre + orbit.apply(positions - centre)
        return cls(np.asarray(turns.as_matrix()), positions)

    def seen(self, points: Float64Array) -> Float64Array:
        """Points (T, N, 3) of the world in the camera's axes."""
        return np.asarray(np.einsum("tab,tnb->tna", self.turns, points - self.positions[:, None]))

    def in_the_world(self, points: Float64Array) -> Float64Array:
        """The inverse of `seen`."""
        return np.asarray(np.einsum("tba,tnb->tna", self.turns, points) + self.positions[:, None])

    def homographies(self, camera: Camera, distance_m: float) -> Float64Array:
        """(T, 3, 3) from pixels of the wall behind a person, as the origin sees it, to those that the camera sees."""
        lens = np.array([[camera.focal_px, 0, camera.width / 2], [0, camera.focal_px, camera.height / 2], [0, 0, 1]])
        nearer = np.eye(3) - self.positions[:, :, None] * [0, 0, 1 / (distance_m + _WALL_M)]
        return np.asarray(lens @ self.turns @ nearer @ np.linalg.inv(lens))


def _wandering(rng: np.random.Generator, times_s: Float64Array) -> Float64Array:
    """(T, 3) numbers with a root mean square of 1."""
    hertz = rng.uniform(_LEAST_HZ, _MOST_HZ, (_SINES, 3))
    phases = rng.uniform(0, 2 * np.pi, (_SINES, 3))
    sines = np.sin(2 * np.pi * hertz * times_s[:, None, None] + phases) / hertz
    return np.asarray(sines.sum(axis=1) / np.sqrt((1 / hertz**2).sum(axis=0) / 2))
