"""How a hand is turned against its forearm: the labels' wrists, by the orientation of the hand that was seen.

The hand's turn about the forearm's axis is shared by the forearm and the wrist, half each, as in the training poses
(`common.synthetic.motion.retarget.distribute_twist`).

Rotations are unit quaternions x, y, z, w in plain floats: a product takes a microsecond, which arrays of four do not.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX, JOINTS
from common.body.label_space import GROUP_JOINTS, LabelSpace
from common.body.model import BodyModel
from common.labels import GROUP_BY_NAME, LABEL_SIZE, group_slices
from sender.hands.labels import HANDS, SIDES
from sender.semantics.keypoint_jacobian import CROSS
from sender.semantics.keypoint_jacobian import orientation as orientation_of

Quaternion = tuple[float, float, float, float]

# A hand bends against its forearm by at most this, radians: what seems to bend more was read wrongly.
_MAX_BEND = 1.5
_STRAIGHT: Final[Quaternion] = (0.0, 0.0, 0.0, 1.0)
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
    ) -> Quaternion | None:
        """The turn of a hand against its forearm without that one's own twist; None if no wrist bends so.

        Args:
            orientation: (3, 3) of the hand in camera space.
            side: 0 left, 1 right.
        """
        vectors = self._vectors(labels)
        above = _of_matrix(orientation_of(labels["root"][None].astype(np.float64), CROSS)[0])
        for joint in self._above[side]:
            above = _product(above, _quaternion(vectors[_ORDER[joint]]))
        swing, _ = _swing_and_twist(_quaternion(vectors[_ORDER[self._arms[side][0]]]), self._axes[side])
        turn = _product(_inverse(_product(above, swing)), _of_matrix(orientation))
        bend, _ = _swing_and_twist(turn, self._axes[side])
        return turn if 2 * math.acos(min(1.0, abs(bend[3]))) < _MAX_BEND else None

    def turned(self, labels: Mapping[str, FloatArray], turns: Mapping[int, Quaternion]) -> dict[str, FloatArray]:
        """The groups of arms and hands with the turns of some sides' hands."""
        vectors = self._vectors(labels)
        change = np.zeros_like(vectors)
        for side, turn in turns.items():
            axis, (forearm, wrist) = self._axes[side], (_ORDER[joint] for joint in self._arms[side])
            swing, _ = _swing_and_twist(_quaternion(vectors[forearm]), axis)
            _, angle = _swing_and_twist(turn, axis)
            half = _quaternion(0.5 * angle * axis)
            change[forearm] = _vector(_product(swing, half)) - vectors[forearm]
            change[wrist] = _vector(_product(_inverse(half), turn)) - vectors[wrist]
        entries = change.ravel() @ self._by_vector
        names = (HANDS, *(f"{side}_arm" for side in SIDES))
        return {name: labels[name] + entries[self._entries[name]].astype(np.float32) for name in names}

    def _vectors(self, labels: Mapping[str, FloatArray]) -> Float64Array:
        """(21, 3) rotation vectors of the joints in the order of `GROUP_JOINTS`."""
        entries = np.concatenate([labels[name] for name in GROUP_JOINTS])
        return np.asarray(self._mean + (entries @ self._by_entry).reshape(-1, 3), np.float64)


def apart(one: Quaternion, other: Quaternion) -> float:
    """The angle between two rotations, radians."""
    return 2 * math.acos(min(1.0, abs(sum(a * b for a, b in zip(one, other, strict=True)))))


def between(one: Quaternion, other: Quaternion, share: float) -> Quaternion:
    """The rotation so far on the way from one to another."""
    sign = math.copysign(share, sum(a * b for a, b in zip(one, other, strict=True)))
    mixed = [(1 - share) * a + sign * b for a, b in zip(one, other, strict=True)]
    length = math.hypot(*mixed)
    x, y, z, w = (value / length for value in mixed)
    return x, y, z, w


def _chain(parents: list[int], joint: str) -> list[str]:
    """The joints between the root and a joint, from the root."""
    chain, index = list[str](), parents[JOINT_INDEX[joint]]
    while index > 0:
        chain.insert(0, JOINTS[index])
        index = parents[index]
    return chain


def _of_matrix(matrix: Float64Array) -> Quaternion:
    x, y, z, w = Rotation.from_matrix(matrix).as_quat().tolist()
    return x, y, z, w


def _quaternion(vector: Float64Array) -> Quaternion:
    """Of a rotation vector (3,)."""
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    if angle < 1e-9:
        return _STRAIGHT
    scale = math.sin(angle / 2) / angle
    return scale * x, scale * y, scale * z, math.cos(angle / 2)


def _vector(rotation: Quaternion) -> Float64Array:
    """The shortest rotation vector (3,)."""
    x, y, z, w = rotation
    sine = math.sqrt(x * x + y * y + z * z)
    if sine < 1e-9:
        return np.zeros(3)
    angle = 2 * math.atan2(sine, abs(w)) * math.copysign(1.0, w)
    return np.array([x, y, z]) * (angle / sine)


def _product(first: Quaternion, second: Quaternion) -> Quaternion:
    x, y, z, w = first
    a, b, c, d = second
    return (
        w * a + x * d + y * c - z * b,
        w * b - x * c + y * d + z * a,
        w * c + x * b - y * a + z * d,
        w * d - x * a - y * b - z * c,
    )


def _inverse(rotation: Quaternion) -> Quaternion:
    x, y, z, w = rotation
    return -x, -y, -z, w


def _swing_and_twist(rotation: Quaternion, axis: Float64Array) -> tuple[Quaternion, float]:
    """The rotation as a turn about an axis, −π…π, and one after it that turns the axis itself."""
    x, y, z, w = rotation
    a, b, c = axis.tolist()
    angle = 2 * math.atan2(a * x + b * y + c * z, w)
    angle = (angle + math.pi) % (2 * math.pi) - math.pi
    return _product(rotation, _quaternion(-angle * axis)), angle


def _unit(vector: Float64Array) -> Float64Array:
    return np.asarray(vector / np.linalg.norm(vector))
