"""Finger angles from landmarks: Gauss-Newton on their positions and depths, with a Gaussian prior of the angles.

    min  Σ |w (s R x(θ) + t − y)|² + (θ − μ)ᵀ Λ (θ − μ)
    θ, s, R, t

over angles θ, size s, orientation R and position t of the hand; x are the landmarks of `HandSkeleton`, y those of the
network with their depths, w weighs depths less.  The picture is seen in weak perspective.

Shapes: L = 21 landmarks, A = 25 angles.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.body.model import BodyModel
from common.weights import loader
from sender.hands.skeleton import LANDMARKS, HandSkeleton
from sender.perception.crop import similarity

WEIGHTS_NAME: Final = "hands"
KIND: Final = "hand-prior-1"
# The next would turn phalanges by 0.3 degrees; no more either when the last one did so, radians.
_ITERATIONS, _SMALL_STEP = 6, 0.01
# Inverse standard deviations of landmarks across, down and in depth, over the length of the palm.
_WEIGHTS = 1 / np.array([0.15, 0.15, 0.6])
_PALM = [0, 5, 9, 13, 17]
_OF_PALM = np.full(len(_PALM), 1 / len(_PALM))


@dataclass(frozen=True, eq=False)
class HandPrior:
    """What is known of hands before one is seen.

    Args:
        mean: (A,) radians.
        precision: (A, A) inverse of the angles' covariance.
    """

    mean: Float64Array
    precision: Float64Array


@dataclass(frozen=True, eq=False)
class FittedHand:
    """A left hand.

    Args:
        angles: (A,) radians.
        orientation: (3, 3) from the body's rest pose to the picture's axes (x right, y down, z forward).
        scale: pixels per metre.
        residual: root mean square distance of the landmarks in the picture, in lengths of the palm.
    """

    angles: Float64Array
    orientation: Float64Array
    scale: float
    residual: float


class HandFitter:
    """Fits left hands to landmarks."""

    def __init__(self, skeleton: HandSkeleton, prior: HandPrior) -> None:
        self._skeleton = skeleton
        self._prior = prior
        self._palm_m = float(np.linalg.norm(skeleton.landmarks[9] - skeleton.landmarks[0]))

    @classmethod
    def load(cls, body: BodyModel) -> Self:
        """With the shipped prior. Raises WeightsError if it is missing or damaged."""
        weights = loader.load_weights(WEIGHTS_NAME, {"kind": KIND})
        tensors = {name: tensor.double().numpy() for name, tensor in weights.items()}
        skeleton = HandSkeleton.from_body(body, tensors["offsets"])
        return cls(skeleton, HandPrior(tensors["mean"], tensors["precision"]))

    @property
    def mean_vectors(self) -> Float64Array:
        """(15, 3) those of the prior's mean."""
        return self.vectors(self._prior.mean)

    def vectors(self, angles: Float64Array) -> Float64Array:
        """(15, 3) rotation vectors of the phalanges, of angles (A,)."""
        return np.asarray(Rotation.from_matrix(self._skeleton.rotations(angles).reshape(-1, 3, 3)).as_rotvec())

    def fit(self, observed: Float64Array, start: Float64Array | None = None) -> FittedHand:
        """The left hand whose landmarks are nearest to observed ones.

        Args:
            observed: (L, 3) pixels across and down, and depth in pixels.
            start: (A,) angles of the hand a moment ago, radians.
        """
        prior = self._prior
        angles = prior.mean.copy() if start is None else start.copy()
        posed = self._skeleton.pose(angles)
        orientation, scale, position = similarity(posed.landmarks[_PALM], observed[_PALM], _OF_PALM)
        size = len(angles)
        rows = 3 * LANDMARKS
        jacobian = np.empty((LANDMARKS, 3, size + 7))
        for _ in range(_ITERATIONS):
            turned = posed.landmarks @ orientation.T
            placed = scale * turned + position
            # Lengths in those of the palm.
            unit = scale * self._palm_m
            error = (placed - observed) * (_WEIGHTS / unit)
            jacobian[:, :, :size] = scale * (orientation @ posed.jacobian)
            jacobian[:, :, size : size + 3] = scale * _cross(turned)
            jacobian[:, :, size + 3] = scale * turned
            jacobian[:, :, size + 4 :] = np.eye(3)
            weighted = (jacobian * (_WEIGHTS / unit)[:, None]).reshape(rows, -1)
            normal = weighted.T @ weighted
            gradient = weighted.T @ error.ravel()
            normal[:size, :size] += prior.precision
            gradient[:size] += prior.precision @ (angles - prior.mean)
            step = -np.linalg.solve(normal, gradient)
            angles += step[:size]
            orientation = Rotation.from_rotvec(step[size : size + 3]).as_matrix() @ orientation
            scale *= float(np.exp(np.clip(step[size + 3], -0.3, 0.3)))
            position = position + step[size + 4 :]
            posed = self._skeleton.pose(angles)
            if np.abs(step[:size]).max() < _SMALL_STEP:
                break
        placed = scale * posed.landmarks @ orientation.T + position
        error = (placed - observed)[:, :2] / (scale * self._palm_m)
        return FittedHand(angles, orientation, scale, float(np.sqrt(np.square(error).sum(1).mean())))


def _cross(vectors: Float64Array) -> Float64Array:
    """(L, 3) → (L, 3, 3): the derivative of the turned vectors by a rotation vector from the left."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, z, -y, -z, zero, x, y, -x, zero], 1).reshape(-1, 3, 3)
