"""Legs between labels and space.

Legs that nobody sees stand where they are: feet do not follow what jitters in the pelvis that they hang on.  The pelvis
drags its held copy along, as on a leash.  The feet are where they would be below the held pelvis, as far as hips that
turn let the legs of the true one reach there.

Shapes: L = 2 legs, left and right; a leg has 3 joints: hip, knee, ankle.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import GROUP_JOINTS, LabelSpace
from common.body.model import BodyModel
from common.labels import LABEL_SIZE, group_slices
from common.motion.steps import orientation_of, place_of
from receiver.motion.leg_chain import LegChain, applied, between, matrices_of, vectors_of

LEGS = ("left_leg", "right_leg")
# How far the pelvis moves and turns before its held copy follows.
_LEASH_M, _LEASH_RAD = 0.04, 0.08
JUMP_M: Final = 0.6
"""Who moves by more between two frames jumps: somebody else, or a new scene, is shown."""
# The rest pose bends the knee by 0.17.
_KNEE_MIN_RAD = -0.15
_SLICES = group_slices()
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Pelvis:
    """Orientation (3, 3) and position (3,) of the root joint in camera space, metres."""

    rotation: Float64Array
    position: Float64Array

    @classmethod
    def of(cls, labels: FloatArray) -> "Pelvis":
        """That of labels (LABEL_SIZE,): upright and facing the camera if they have no orientation."""
        return cls(orientation_of(labels), place_of(labels))

    @property
    def down(self) -> Float64Array:
        """(3,) which way is down in the frame of the pelvis, by a camera that is held level."""
        return np.asarray(self.rotation[1])

    def tilted(self, down: Float64Array) -> "Pelvis":
        """As it is, but with another direction (3,) of down in its frame."""
        down = down / (np.linalg.norm(down) + _TINY)
        return Pelvis(self.rotation @ between(down[None], self.down[None])[0], self.position)

    def dragged(self, to: "Pelvis") -> "Pelvis":
        """Moved and turned towards another one until it is within the leash."""
        step = to.position - self.position
        distance = float(np.linalg.norm(step))
        if distance > JUMP_M:
            return to
        turn = vectors_of(self.rotation.T @ to.rotation)
        angle = float(np.linalg.norm(turn))
        pull, twist = max(1 - _LEASH_M / (distance + _TINY), 0), max(1 - _LEASH_RAD / (angle + _TINY), 0)
        return Pelvis(self.rotation @ matrices_of(twist * turn), self.position + pull * step)


class Legs:
    """The label entries of both legs, of one body model."""

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        with torch.no_grad():
            rows, _ = space.decode_vectors(torch.cat([torch.zeros(1, LABEL_SIZE), torch.eye(LABEL_SIZE)]))
        order = [joint for joints in GROUP_JOINTS.values() for joint in joints]
        joints = [[order.index(joint) for joint in GROUP_JOINTS[leg]] for leg in LEGS]
        vectors = rows.double().numpy()[:, joints].reshape(len(rows), 2, 9)
        self._mean = vectors[0]
        own = [vectors[1:][_SLICES[leg], number] - vectors[0, number] for number, leg in enumerate(LEGS)]
        self._synthesis = np.stack(own)
        self._analysis = np.linalg.inv(self._synthesis)
        rest = body.rest_joints.double().numpy()
        places = [[JOINT_INDEX[joint] for joint in GROUP_JOINTS[leg]] for leg in LEGS]
        above = [[0, *each[:-1]] for each in places]
        # (L, 3, 3) from the joint above to each joint, of the mean body, and by its shape.
        bones = rest[:, places] - rest[:, above]
        self._mean_bones, self._bones_by_shape = bones[0], bones[1:].reshape(len(bones) - 1, -1)

    def vectors(self, entries: Float64Array) -> Float64Array:
        """(L, 3, 3) rotation vectors of the label entries (L, 9)."""
        return np.asarray((self._mean + (entries[:, None] @ self._synthesis)[:, 0]).reshape(2, 3, 3))

    def entries(self, vectors: Float64Array) -> Float64Array:
        """The inverse of `vectors`."""
        return np.asarray(((vectors.reshape(2, 1, 9) - self._mean[:, None]) @ self._analysis)[:, 0])

    def within_limits(self, entries: Float64Array) -> Float64Array:
        """Label entries (L, 9) of legs whose knees do not bend backwards."""
        vectors = self.vectors(entries)
        vectors[:, 1, 0] = np.maximum(vectors[:, 1, 0], _KNEE_MIN_RAD)
        return self.entries(vectors)

    def chain(self, entries: Float64Array, shape: FloatArray, pelvis: Pelvis) -> LegChain:
        """The legs of label entries (L, 9) and a shape (10,), below a pelvis."""
        bones = self._bones_of(shape)
        hip, knee, ankle = matrices_of(self.vectors(entries)).transpose(1, 0, 2, 3)
        thighs = pelvis.rotation @ hip
        shins = thighs @ knee
        hips = pelvis.position + bones[:, 0] @ pelvis.rotation.T
        turns = np.stack([thighs, shins, shins @ ankle])
        return LegChain(hips, applied(thighs, bones[:, 1]), applied(shins, bones[:, 2]), turns)

    def entries_of(self, turns: Float64Array, pelvis: Pelvis) -> Float64Array:
        """Label entries (L, 9) of legs with orientations (3, L, 3, 3)."""
        above = np.stack([np.broadcast_to(pelvis.rotation, turns.shape[1:]), *turns[:2]])
        return self.entries(vectors_of((above.swapaxes(2, 3) @ turns).swapaxes(0, 1)))

    def _bones_of(self, shape: FloatArray) -> Float64Array:
        return np.asarray(self._mean_bones + (shape @ self._bones_by_shape).reshape(self._mean_bones.shape))

    def standing(self, entries: Float64Array, shape: FloatArray, held: Pelvis, pelvis: Pelvis) -> Float64Array:
        """Label entries (L, 9) of legs that point from a pelvis to where the given ones reach below the held pelvis.

        Knees do not bend for it: those of straight legs would move by a multiple of what the pelvis does.

        Args:
            shape: (10,) coefficients of the body.
        """
        chain = self.chain(entries, shape, held)
        hips = pelvis.position + self._bones_of(shape)[:, 0] @ pelvis.rotation.T
        swing = between(chain.thigh + chain.shin, chain.ankles - hips)
        thighs, shins, feet = chain.turns
        return self.entries_of(np.stack([swing @ thighs, swing @ shins, feet]), pelvis)
