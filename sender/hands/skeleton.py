"""The left hand as five chains of hinges; a right hand is its mirror image.

A finger has five angles: its first phalanx is turned about the normal of the palm (spread), about the finger's hinge
(flexion) and about itself (twist), the others about the hinge.  All are zero in the body's rest pose.

Shapes: F = 5 fingers from the thumb, P = 3 phalanges, A = 5 angles of a finger, L = 21 landmarks: the wrist, then of
each finger its three joints and its tip.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from common.arrays import Float64Array
from common.body.anatomy import FINGER_BONES, SKELETON
from common.body.model import BodyModel

FINGERS, PHALANGES, ANGLES, LANDMARKS = 5, 3, 5, 21
# The angles of each phalanx.
_OWN_ANGLES = (range(3), range(3, 4), range(4, 5))
_EYE = np.eye(3)


@dataclass(frozen=True)
class Posed:
    """A hand in its own frame, metres from the wrist.

    Args:
        landmarks: (L, 3).
        jacobian: (L, 3, F · A) by the angles.
    """

    landmarks: Float64Array
    jacobian: Float64Array


@dataclass(frozen=True, eq=False)
class HandSkeleton:
    """The left hand in the rest pose, axes of the body, metres from the wrist.

    Args:
        joints: (F, P + 1, 3) the heads of the phalanges, then the finger's tip.
        axes: (F, A, 3) unit axes of the angles.
        landmarks: (L, 3) where a landmark is seen; it belongs to the bone whose end it is.
    """

    joints: Float64Array
    axes: Float64Array
    landmarks: Float64Array

    @classmethod
    def from_body(cls, body: BodyModel, offsets: Float64Array | None = None) -> Self:
        """Of the body of mean shape.

        Args:
            offsets: (L, 3) of the landmarks from the ends of the bones, metres.
        """
        bones = [SKELETON.index(name) for name in FINGER_BONES[: FINGERS * PHALANGES]]
        wrist = body.rest_joints[0, SKELETON.index("wrist.L")]
        heads = (body.rest_joints[0, bones] - wrist).double().numpy().reshape(FINGERS, PHALANGES, 3)
        hinges = body.curl_axes[: FINGERS * PHALANGES : PHALANGES].double().numpy()
        tips = np.stack([_tip(body, bone) for bone in bones[PHALANGES - 1 :: PHALANGES]]) - wrist.numpy()
        joints = np.concatenate([heads, tips[:, None]], 1)
        along = _unit(joints[:, 1] - joints[:, 0])
        hinges = _unit(hinges - np.sum(hinges * along, -1, keepdims=True) * along)
        axes = np.stack([np.cross(hinges, along), hinges, along, hinges, hinges], 1)
        ends = np.concatenate([np.zeros((1, 3)), joints.reshape(-1, 3)])
        return cls(joints, axes, ends if offsets is None else ends + offsets)

    @cached_property
    def _crosses(self) -> tuple[Float64Array, Float64Array]:
        """(F, A, 3, 3) the cross product with each axis, and the same twice."""
        cross = _cross_matrices(self.axes)
        return cross, cross @ cross

    def _turns(self, angles: Float64Array) -> Float64Array:
        """(…, F · A) → (…, F, A, 3, 3) rotations about the axes, by Rodrigues' formula."""
        each = angles.reshape(*angles.shape[:-1], FINGERS, ANGLES)[..., None, None]
        once, twice = self._crosses
        return _EYE + np.sin(each) * once + (1 - np.cos(each)) * twice

    def rotations(self, angles: Float64Array) -> Float64Array:
        """(…, F · A) → (…, F, P, 3, 3) local rotations of the phalanges."""
        turns = self._turns(angles)
        first = turns[..., 0, :, :] @ turns[..., 1, :, :] @ turns[..., 2, :, :]
        return np.stack([first, turns[..., 3, :, :], turns[..., 4, :, :]], -3)

    def pose(self, angles: Float64Array) -> Posed:
        """The landmarks of angles (F · A,), radians, and how these move them."""
        turns = self._turns(angles)
        seen = self.landmarks[1:].reshape(FINGERS, PHALANGES + 1, 3)
        heads, axes = np.empty((FINGERS, ANGLES, 3)), np.empty((FINGERS, ANGLES, 3))
        landmarks = np.empty((FINGERS, PHALANGES + 1, 3))
        landmarks[:, 0] = seen[:, 0]
        rotation, head = np.broadcast_to(_EYE, (FINGERS, 3, 3)), self.joints[:, 0]
        for phalanx, own in enumerate(_OWN_ANGLES):
            for angle in own:
                heads[:, angle] = head
                axes[:, angle] = (rotation @ self.axes[:, angle, :, None])[..., 0]
                rotation = rotation @ turns[:, angle]
            base = self.joints[:, phalanx]
            landmarks[:, phalanx + 1] = head + (rotation @ (seen[:, phalanx + 1] - base)[..., None])[..., 0]
            head = head + (rotation @ (self.joints[:, phalanx + 1] - base)[..., None])[..., 0]
        # (F, landmark, angle, 3): an angle moves what lies beyond it.
        moved = np.cross(axes[:, None], landmarks[:, :, None] - heads[:, None]) * _BEYOND[..., None]
        jacobian = np.zeros((LANDMARKS, 3, FINGERS * ANGLES))
        for finger in range(FINGERS):
            rows, columns = 1 + 4 * finger, ANGLES * finger
            jacobian[rows : rows + 4, :, columns : columns + ANGLES] = moved[finger].transpose(0, 2, 1)
        return Posed(np.concatenate([self.landmarks[:1], landmarks.reshape(-1, 3)]), jacobian)


# (landmark of a finger, angle) 1 where the angle moves the landmark.
_BEYOND = np.array([[0] * ANGLES] + [[float(angle < own.stop) for angle in range(ANGLES)] for own in _OWN_ANGLES])


def _tip(body: BodyModel, bone: int) -> Float64Array:
    """(3,) the vertex of a last phalanx that is farthest from its head."""
    own = (body.weights[:, bone] > 0.9).nonzero()[:, 0]
    vertices = body.rest_vertices[0].reshape(-1, 3)[own]
    return vertices[(vertices - body.rest_joints[0, bone]).norm(dim=1).argmax()].double().numpy()


def _cross_matrices(vectors: Float64Array) -> Float64Array:
    """(…, 3) → (…, 3, 3) whose products with a vector are cross products."""
    return np.cross(vectors[..., None, :], _EYE).swapaxes(-1, -2)


def _unit(vectors: Float64Array) -> Float64Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
