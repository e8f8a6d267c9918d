"""Legs between labels and space, and feet that stay where they stand.

Legs that nobody sees stand where they are: feet do not follow what jitters in the pelvis that they hang on.  The pelvis
drags its held copy along, as on a leash.  The feet are where they would be below the held pelvis, as far as hips that
turn let the legs of the true one reach there.

Neither perception's errors nor what the codec rounds lets feet that stand slide.  How likely a foot stands follows from
its speed, above all across the line of sight, where perception sees well.  The place of such a foot is held, on a
leash.  The legs reach for the places (`LegChain.reaching`), and the body follows them in distance.  Whoever moves pulls
the leash: a foot that leaves is not held back by more than its length, and a fast one not at all, after a moment in
which the leash shrinks: one frame with a wrong speed lets no foot go.

Shapes: L = 2 legs, left and right; a leg has 3 joints: hip, knee, ankle.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import GROUP_JOINTS, LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels, unseen_limbs
from common.labels import LABEL_SIZE, concatenate, group_slices
from common.motion.steps import orientation_of, place_of, root_entries, share_of_way
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


# The constants were chosen on rendered clips of the training split, as sent and decoded.
_STANDING_LEASH_M: Final = 0.25  # a foot that stands may move so far from its place
_STEP_MPS: Final = 0.3  # a foot with this speed across the line of sight stands with a probability of 1/e
_DEPTH_STEP_MPS: Final = 0.9  # the same along the line of sight
_SPEED_S: Final = 0.1  # time constant of the feet's velocities
_LEAVES_S: Final = 0.05  # time constant with which the leash of a foot that leaves shrinks
_RELAX_S: Final = 3.0  # time constant with which the place of a foot that stands gives way
_FOLLOWS_S: Final = 0.4  # time constant of the body's distance while feet stand
_AWAY_S: Final = 0.5  # the same while none does
_RETURNS_S: Final = 1.5  # time constant of the return to the measured distance
_DISTANCE_S: Final = 0.1  # time constant of the measured distance: a frame tells little of it
_STANDS: Final = 0.3  # probability from which on the body follows a foot
_HEAD_M: Final = np.array([0.0, -0.64, -0.1])
"""The head from the pelvis, in its frame: whoever's legs are unseen is seen there, and moves on that line of sight."""
_LEAST_LENGTH_M = 1e-6
_SHAPE = _SLICES["shape"]


@dataclass(slots=True, eq=False)
class FootContact:
    """What is remembered of a person's feet.

    Attributes:
        seen: (L,) 1 for each leg that was seen, else 0.
        distance_m: of the pelvis along its line of sight, or of the head where no leg is seen, smoothed.
        held: (L, 3) places of the ankles.
        ankles: (L, 3) where they were measured.
        velocity: (L, 3) of the ankles, metres a second.
        stands: (L,) probabilities that the feet stand; those of feet that have left fall to 0.
        shift_m: how much further away the body is displayed than `distance_m`.
    """

    at_s: float
    seen: Float64Array
    distance_m: float
    held: Float64Array
    ankles: Float64Array
    velocity: Float64Array = field(default_factory=lambda: np.zeros((len(LEGS), 3)))
    stands: Float64Array = field(default_factory=lambda: np.zeros(len(LEGS)))
    shift_m: float = 0.0

    def goes_on(self, now_s: float, distance_m: float) -> bool:
        """Whether what is measured now continues what was; times of capture may stand still."""
        return now_s > self.at_s and abs(distance_m - self.distance_m) < JUMP_M

    def hold(self, ankles: Float64Array, ray: Float64Array, seen: Float64Array, passed_s: float) -> None:
        """Moves the held places, and the body in distance.

        Args:
            ankles: (L, 3) where they would be without the shift.
            ray: (3,) the line of sight of the body.
            seen: (L,) as the attribute.
        """
        rays = ankles / _lengths(ankles)
        self.velocity += share_of_way(passed_s, _SPEED_S) * ((ankles - self.ankles) / passed_s - self.velocity)
        along = np.square((self.velocity * rays).sum(1))
        across = np.square(self.velocity).sum(1) - along
        likely = np.exp(-across / _STEP_MPS**2 - along / _DEPTH_STEP_MPS**2)
        self.stands = seen * self.seen * np.maximum(likely, self.stands * math.exp(-passed_s / _LEAVES_S))
        stands, self.ankles, self.seen = self.stands, ankles, seen
        further = ankles + self.shift_m * ray - self.held
        self.held = self.held + further * np.maximum(
            1 - _STANDING_LEASH_M * stands[:, None] / _lengths(further), passed_s / _RELAX_S
        )
        aim, share = 0.0, share_of_way(passed_s, _AWAY_S)
        if stands.max() > _STANDS:
            further = ((self.held - ankles) * rays).sum(1)
            aim, share = float(further @ stands / stands.sum()), share_of_way(passed_s, _FOLLOWS_S)
        self.shift_m = (self.shift_m + share * (aim - self.shift_m)) * math.exp(-passed_s / _RETURNS_S)


class PlantedFeet:
    """Holds the feet of people, frame after frame."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs

    def settle(
        self, labels: PersonLabels, contact: FootContact | None, now_s: float
    ) -> tuple[PersonLabels, FootContact]:
        """The person with feet that stand, and what the next frame is settled with.

        Args:
            labels: complete ones.
            contact: of the frame before; None of somebody who is new.
        """
        vector = concatenate(labels.labels)
        entries = np.stack([vector[_SLICES[leg]] for leg in LEGS]).astype(np.float64)
        pelvis = Pelvis.of(vector)
        chain = self._legs.chain(entries, vector[_SHAPE], pelvis)
        unseen = unseen_limbs(labels)
        seen = np.array([leg not in unseen for leg in LEGS], np.float64)
        middle = pelvis.position if seen.any() else pelvis.position + pelvis.rotation @ _HEAD_M
        distance_m = float(np.linalg.norm(middle))
        ray = middle / distance_m
        if contact is None or not contact.goes_on(now_s, distance_m):
            return labels, FootContact(now_s, seen, distance_m, chain.ankles, chain.ankles)
        passed_s, contact.at_s = now_s - contact.at_s, now_s
        if contact.seen.any() != seen.any():
            contact.distance_m = distance_m
        contact.distance_m += share_of_way(passed_s, _DISTANCE_S) * (distance_m - contact.distance_m)
        nearer = (contact.distance_m - distance_m) * ray
        contact.hold(chain.ankles + nearer, ray, seen, passed_s)
        moved = nearer + contact.shift_m * ray
        pelvis = replace(pelvis, position=pelvis.position + moved)
        reaching = self._legs.entries_of(replace(chain, hips=chain.hips + moved).reaching(contact.held), pelvis)
        axes = pelvis.rotation[:, :2].T.ravel()
        known = {"root": root_entries(axes, pelvis.position).astype(np.float32)}
        known |= {leg: row.astype(np.float32) for leg, row in zip(LEGS, reaching, strict=True) if leg not in unseen}
        return replace(labels, labels={**labels.labels, **known}), contact


def _lengths(vectors: Float64Array) -> Float64Array:
    """(L, 1) of vectors (L, 3)."""
    return np.asarray(np.sqrt(np.square(vectors).sum(1, keepdims=True)) + _LEAST_LENGTH_M)
