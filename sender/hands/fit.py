"""Hands: five chains of hinges fitted to landmarks, their labels, and how they join the wrists of the body.

A finger has five angles: its first phalanx is turned about the normal of the palm (spread), about the finger's hinge
(flexion) and about itself (twist), the others about the hinge.  All are zero in the body's rest pose.  The fit is by
Gauss-Newton on positions and depths of landmarks, with a Gaussian prior of the angles:

    min  Σ |w (s R x(θ) + t − y)|² + (θ − μ)ᵀ Λ (θ − μ)
    θ, s, R, t

over angles θ, size s, orientation R and position t of the hand; x are the landmarks of `HandSkeleton`, y those of the
network with their depths, w weighs depths less.  The picture is seen in weak perspective.

A hand's turn about the forearm's axis is shared by the forearm and the wrist, half each, as in the training poses
(`common.synthetic.motion.retarget.distribute_twist`).

Shapes: F = 5 fingers from the thumb, P = 3 phalanges, A = 5 angles of a finger, L = 21 landmarks: the wrist, then of
each finger its three joints and its tip; 4 curls in the order of `CURLS`, 8 entries of the fingers of a hand, 10 of the
group `hands`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import CURLS, FINGER_BONES, JOINT_INDEX, JOINTS, MIRROR_TURN_SIGNS, SKELETON
from common.body.label_space import GROUP_JOINTS, LabelSpace
from common.body.model import BodyModel
from common.labels import GROUP_BY_NAME, LABEL_SIZE, group_slices
from common.weights import loader
from sender.perception.crop import similarity
from sender.semantics.bodies import CROSS
from sender.semantics.bodies import orientation as orientation_of

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
        cross = (self.axes @ CROSS).reshape(*self.axes.shape, 3)
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


def _unit(vectors: Float64Array) -> Float64Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


WEIGHTS_NAME: Final = "hands"
KIND: Final = "hand-prior-1"
# The next would turn phalanges by 0.3 degrees; no more either when the last one did so, radians.
_ITERATIONS, _SMALL_STEP = 6, 0.01
# Inverse standard deviations of landmarks across, down and in depth, over the length of the palm.
_WEIGHTS = 1 / np.array([0.15, 0.15, 0.6])
_PALM = [0, 5, 9, 13, 17]
_OF_PALM = np.full(len(_PALM), 1 / len(_PALM))


@dataclass(frozen=True, eq=False)
class FittedHand:
    """A left hand.

    Args:
        angles: (A,) radians.
        orientation: (3, 3) from the body's rest pose to the picture's axes (x right, y down, z forward).
        residual: root mean square distance of the landmarks in the picture, in lengths of the palm.
    """

    angles: Float64Array
    orientation: Float64Array
    residual: float


class HandFitter:
    """Fits left hands to landmarks.

    Args:
        mean, precision: (A,) and (A, A), the inverse covariance, of the angles before a hand is seen, radians.
    """

    def __init__(self, skeleton: HandSkeleton, mean: Float64Array, precision: Float64Array) -> None:
        self._skeleton, self._mean, self._precision = skeleton, mean, precision
        self._palm_m = float(np.linalg.norm(skeleton.landmarks[9] - skeleton.landmarks[0]))

    @classmethod
    def load(cls, body: BodyModel) -> Self:
        """With the shipped prior. Raises WeightsError if it is missing or damaged."""
        weights = loader.load_weights(WEIGHTS_NAME, {"kind": KIND})
        tensors = {name: tensor.double().numpy() for name, tensor in weights.items()}
        skeleton = HandSkeleton.from_body(body, tensors["offsets"])
        return cls(skeleton, tensors["mean"], tensors["precision"])

    @property
    def mean_vectors(self) -> Float64Array:
        """(15, 3) those of the prior's mean."""
        return self.vectors(self._mean)

    def vectors(self, angles: Float64Array) -> Float64Array:
        """(15, 3) rotation vectors of the phalanges, of angles (A,)."""
        return np.asarray(Rotation.from_matrix(self._skeleton.rotations(angles).reshape(-1, 3, 3)).as_rotvec())

    def fit(self, observed: Float64Array, start: Float64Array | None = None) -> FittedHand:
        """The left hand whose landmarks are nearest to observed ones.

        Args:
            observed: (L, 3) pixels across and down, and depth in pixels.
            start: (A,) angles of the hand a moment ago, radians.
        """
        angles = self._mean.copy() if start is None else start.copy()
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
            jacobian[:, :, size : size + 3] = scale * (turned @ -CROSS).reshape(-1, 3, 3)
            jacobian[:, :, size + 3] = scale * turned
            jacobian[:, :, size + 4 :] = np.eye(3)
            weighted = (jacobian * (_WEIGHTS / unit)[:, None]).reshape(rows, -1)
            normal = weighted.T @ weighted
            gradient = weighted.T @ error.ravel()
            normal[:size, :size] += self._precision
            gradient[:size] += self._precision @ (angles - self._mean)
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
        return FittedHand(angles, orientation, float(np.sqrt(np.square(error).sum(1).mean())))


SIDES: Final = ("left", "right")
GROUPS: Final = tuple(f"{side}_fingers" for side in SIDES)
HANDS: Final = "hands"
_CURLS_OF_A_HAND = len(CURLS) // 2
_ENTRIES = GROUP_BY_NAME[GROUPS[0]].size


class FingerLabels:
    """Turns rotation vectors of phalanges into entries of the fingers' groups and of `hands`, which has the curls."""

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        hands = group_slices()[HANDS]
        with torch.inference_mode():
            each = torch.eye(3 * len(FINGER_BONES)).unflatten(1, (-1, 3))
            self._curls, self._fingers = (matrix.numpy() for matrix in space.encode_fingers(each, body))
            upright = torch.eye(3).expand(1 + len(CURLS), len(JOINTS), 3, 3)
            steps = torch.cat([torch.zeros(1, len(CURLS)), torch.eye(len(CURLS))])
            entries = space.encode_pose(upright, steps)[:, -GROUP_BY_NAME[HANDS].size :].numpy()
            self._entries_by_curl = entries[1:] - entries[0]
            curls = space.decode_vectors(torch.cat([torch.zeros(1, LABEL_SIZE), torch.eye(LABEL_SIZE)[hands]]))[1]
            self._mean, self._curls_by_entry = curls[0].numpy(), (curls[1:] - curls[0]).numpy()

    def encoded(self, vectors: Float64Array, hands: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
        """The entries (8,) of one hand's fingers, and those (10,) of `hands` with its curls.

        Args:
            vectors: (15, 3) of its phalanges, as those of a left hand.
            hands: (10,) entries of that group until now.
            side: 0 left, 1 right.
        """
        both = np.zeros((2, *vectors.shape), np.float32)
        both[side] = vectors * MIRROR_TURN_SIGNS if side else vectors
        own = slice(side * _CURLS_OF_A_HAND, (side + 1) * _CURLS_OF_A_HAND)
        change = (both.ravel() @ self._curls - self._mean - hands @ self._curls_by_entry)[own]
        fingers = (both.ravel() @ self._fingers)[side * _ENTRIES : (side + 1) * _ENTRIES]
        return fingers, hands + change @ self._entries_by_curl[own]


# A hand bends against its forearm by at most this, radians: what seems to bend more was read wrongly.
_MAX_BEND = 1.5
_ORDER: Final = {joint: place for place, joint in enumerate(j for joints in GROUP_JOINTS.values() for j in joints)}


class Wrists:
    """Turns of both hands of a person in the labels."""

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        slices = group_slices()
        pose = slice(slices[next(iter(GROUP_JOINTS))].start, slices[HANDS].stop)
        with torch.inference_mode():
            each = torch.cat([torch.zeros(1, LABEL_SIZE), torch.eye(LABEL_SIZE)[pose]])
            vectors, curls = space.decode_vectors(each)
            self._mean, self._by_entry = vectors[0].numpy(), (vectors[1:] - vectors[0]).flatten(1).numpy()
            with_curls = np.concatenate([self._by_entry, (curls[1:] - curls[0]).numpy()], 1).astype(np.float64)
        # Curls stay as they are.
        self._by_vector = np.linalg.pinv(with_curls)[: self._by_entry.shape[1]]
        self._arms = [[name.replace("?", letter) for name in ("lowerarm01.?", "wrist.?")] for letter in ("L", "R")]
        # From the root's child to the upper arm.
        self._above = [_chain(body.parents, forearm) for forearm, _ in self._arms]
        rest = body.rest_joints[0].double().numpy()
        self._axes = [_unit(rest[JOINT_INDEX[wrist]] - rest[JOINT_INDEX[forearm]]) for forearm, wrist in self._arms]
        sizes = np.cumsum([0, *(GROUP_BY_NAME[name].size for name in GROUP_JOINTS)])
        self._entries = {name: slice(*ends) for name, *ends in zip(GROUP_JOINTS, sizes, sizes[1:], strict=False)}

    def against_forearm(
        self, labels: Mapping[str, FloatArray], orientation: Float64Array, side: int
    ) -> Rotation | None:
        """The turn of a hand against its forearm without that one's own twist; None if no wrist bends so.

        Args:
            orientation: (3, 3) of the hand in camera space.
            side: 0 left, 1 right.
        """
        turns = Rotation.from_rotvec(self._vectors(labels))
        above = Rotation.from_matrix(orientation_of(labels["root"][None].astype(np.float64), CROSS)[0])
        for joint in self._above[side]:
            above = above * turns[_ORDER[joint]]
        swing, _ = _swing_and_twist(turns[_ORDER[self._arms[side][0]]], self._axes[side])
        turn = (above * swing).inv() * Rotation.from_matrix(orientation)
        bend, _ = _swing_and_twist(turn, self._axes[side])
        return turn if bend.magnitude() < _MAX_BEND else None

    def turned(self, labels: Mapping[str, FloatArray], turns: Mapping[int, Rotation]) -> dict[str, FloatArray]:
        """The groups of arms and hands with the turns of some sides' hands."""
        vectors, sides = self._vectors(labels), list(turns)
        axes, hands = np.stack([self._axes[side] for side in sides]), Rotation.concatenate(list(turns.values()))
        forearms, wrists = ([_ORDER[self._arms[side][part]] for side in sides] for part in (0, 1))
        swing, _ = _swing_and_twist(Rotation.from_rotvec(vectors[forearms]), axes)
        _, angle = _swing_and_twist(hands, axes)
        half = Rotation.from_rotvec(0.5 * angle[:, None] * axes)
        change = np.zeros_like(vectors)
        change[forearms] = (swing * half).as_rotvec() - vectors[forearms]
        change[wrists] = (half.inv() * hands).as_rotvec() - vectors[wrists]
        entries = change.ravel() @ self._by_vector
        names = (HANDS, *(f"{side}_arm" for side in SIDES))
        return {name: labels[name] + entries[self._entries[name]].astype(np.float32) for name in names}

    def _vectors(self, labels: Mapping[str, FloatArray]) -> Float64Array:
        """(21, 3) rotation vectors of the joints in the order of `GROUP_JOINTS`."""
        entries = np.concatenate([labels[name] for name in GROUP_JOINTS])
        return np.asarray(self._mean + (entries @ self._by_entry).reshape(-1, 3), np.float64)


def between(one: Rotation, other: Rotation, share: float) -> Rotation:
    """The rotation so far on the way from one to another."""
    first, second = one.as_quat(), other.as_quat()
    return Rotation.from_quat((1 - share) * first + math.copysign(share, first @ second) * second)


def _chain(parents: list[int], joint: str) -> list[str]:
    """The joints between the root and a joint, from the root."""
    chain, index = list[str](), parents[JOINT_INDEX[joint]]
    while index > 0:
        chain.insert(0, JOINTS[index])
        index = parents[index]
    return chain


def _swing_and_twist(rotation: Rotation, axis: Float64Array) -> tuple[Rotation, Float64Array]:
    """Rotations as turns (…,) about axes (…, 3), −π…π, and those after them that turn the axes themselves."""
    quaternion = rotation.as_quat()
    angle = 2 * np.arctan2((axis * quaternion[..., :3]).sum(-1), quaternion[..., 3])
    angle = (angle + math.pi) % (2 * math.pi) - math.pi
    return rotation * Rotation.from_rotvec(-angle[..., None] * axis), angle
