"""How the fast labels of people move: a linear Gaussian model, fitted to captured motions.

The *coordinates* of a person are the numbers that the codec transmits of the fast groups: C = 67, first the three of
the orientation, as a rotation relative to another one (`common.codec.orientation`), then the position, then the pose.
With pose p (P = C − 6) and velocity v (C) in coordinates per frame at 30 frames a second,

    v' = A (p, v) + w,    x' = x + v',    w ~ N(0, Q)

Velocity does not depend on orientation and position, so the model is the same for every heading and place.  The
covariance Q and the matrix A couple the groups: an arm that swings says how the legs move.  Ridge regression fits the
model (`receiver.train.concealment`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np

from common.arrays import Float64Array, IntArray
from common.codec.orientation import ENTRIES, Rotation, residual_of, rotation_of
from common.codec.person import CODED_ENTRIES
from common.codec.quantiser import UNIT
from common.errors import WeightsError
from common.labels import FAST_GROUPS, GROUP_NAMES
from common.weights.loader import load_weights

WEIGHTS_NAME: Final = "concealment"
MODEL_FPS: Final = 30.0
ENTRY_OF_COORDINATE: Final[IntArray] = np.concatenate([CODED_ENTRIES[GROUP_NAMES.index(name)] for name in FAST_GROUPS])
"""(C,) the label entry of each coordinate; those of the orientation are coded in place of its first three."""
COORDINATES: Final = len(ENTRY_OF_COORDINATE)
ORIENTATION: Final = slice(0, 3)
POSE: Final = slice(len(CODED_ENTRIES[GROUP_NAMES.index("root")]), COORDINATES)
POSE_SIZE: Final = COORDINATES - POSE.start

# Variances of orientation and position of somebody who was not seen yet, in the squared units of the labels.
_ORIENTATION_VARIANCE: Final = 3.0
_POSITION_VARIANCE: Final = 1.0


@dataclass(frozen=True)
class MotionModel:
    """The fitted model; see above.

    Args:
        regression: (C, P + C) the matrix A.
        noise: (C, C) the covariance Q.
        pose: (P, P) covariance of poses, over poses that are more diverse than the motions.
        velocity: (C, C) covariance of velocities.

    Raises:
        ValueError: a matrix has another shape.
    """

    regression: Float64Array
    noise: Float64Array
    pose: Float64Array
    velocity: Float64Array

    def __post_init__(self) -> None:
        square = (COORDINATES, COORDINATES)
        shapes = ((COORDINATES, POSE_SIZE + COORDINATES), square, (POSE_SIZE, POSE_SIZE), square)
        if tuple(matrix.shape for matrix in (self.regression, self.noise, self.pose, self.velocity)) != shapes:
            raise ValueError(f"the motion model must have matrices of {shapes}")

    @classmethod
    def load(cls) -> Self:
        """The model of the package.

        Raises:
            WeightsError: the weights are missing, damaged or of another version.
        """
        tensors = load_weights(WEIGHTS_NAME, {"coordinates": COORDINATES})
        try:
            return cls(**{name: tensor.double().numpy() for name, tensor in tensors.items()})
        except (TypeError, ValueError) as error:
            raise WeightsError(f"weights {WEIGHTS_NAME!r} are of another version: reinstall bodywire") from error

    def after(self, frames: int) -> tuple[Float64Array, Float64Array]:
        """Matrix and covariance (2 C, 2 C) of the change of the state (x, v) over `frames` ≥ 1."""
        if frames not in self._memory:
            matrix, covariance = self.after(frames - 1)
            step, noise = self._one_step
            self._memory[frames] = step @ matrix, step @ covariance @ step.T + noise
        return self._memory[frames]

    @cached_property
    def initial(self) -> Float64Array:
        """(2 C, 2 C) covariance of the state of somebody who was not seen yet."""
        covariance = np.zeros((2 * COORDINATES, 2 * COORDINATES))
        root = np.arange(POSE.start)
        covariance[root, root] = np.where(root < ORIENTATION.stop, _ORIENTATION_VARIANCE, _POSITION_VARIANCE)
        covariance[POSE, POSE] = self.pose
        covariance[COORDINATES:, COORDINATES:] = self.velocity
        return covariance

    @cached_property
    def _one_step(self) -> tuple[Float64Array, Float64Array]:
        step = np.zeros((2 * COORDINATES, 2 * COORDINATES))
        step[:, POSE.start : COORDINATES] = np.vstack([self.regression[:, :POSE_SIZE]] * 2)
        step[:, COORDINATES:] = np.vstack([self.regression[:, POSE_SIZE:]] * 2)
        step[:COORDINATES, :COORDINATES] += np.eye(COORDINATES)
        return step, np.tile(self.noise, (2, 2))

    @cached_property
    def _memory(self) -> dict[int, tuple[Float64Array, Float64Array]]:
        return {1: self._one_step}


def orientation_of(labels: IntArray) -> Rotation:
    """The orientation in labels (LABEL_SIZE,), 2⁻¹⁶ σ."""
    return rotation_of(labels[:ENTRIES].tolist())


def coordinates_of(labels: IntArray, orientation: Rotation) -> Float64Array:
    """(C,) coordinates of labels (LABEL_SIZE,) in 2⁻¹⁶ σ, the orientation relative to `orientation`."""
    coordinates: Float64Array = labels[ENTRY_OF_COORDINATE] / UNIT
    coordinates[ORIENTATION] = np.array(residual_of(orientation, orientation_of(labels))) / UNIT
    return coordinates
