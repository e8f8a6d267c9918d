"""A posed body as a humanoid of Unity: bones, axes and expressions by the names of VRM.

Humanoids are at rest in a T-pose, our bodies in an A-pose. With R the rotation of a bone from its rest pose and T the
one that takes its direction at rest to the T-pose, a humanoid's bone has the rotation G = R T⁻¹; locally, relative to
its parent, G_parent⁻¹ G. Jaw and toes do not move, and are left out, as are the eyes, which are the face's.

Axes: ours are y up, x to the person's left, z forward; Unity's x is to the person's right, so x is mirrored.

From facial actions to the expressions of avatars, by the names that programs know: VRM's and perfect sync's.

Perfect sync (https://hinzka.hatenablog.com) has an expression for each action of ARKit, whose name begins with a
capital: `JawOpen`.  VRM 0 (https://vrm.dev/en/univrm/blendshape/univrm_blendshape) has vowels, blinks, gaze and moods.
Programs add up what they receive, and trackers of faces send each eye as `Blink_L` and `Blink_R`.  `Blink` is not sent:
an avatar that has all three would close its eyes twice.

Avatars whose eyes are bones look where `LeftEye` and `RightEye` are turned to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from receiver.mesh.mesh_files import Y_UP

_FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
_PHALANGES = ("Proximal", "Intermediate", "Distal")
_SIDES = (("L", "Left"), ("R", "Right"))
# Bones with one direction, and where they point to.
_NEXT = {"UpperLeg": "LowerLeg", "LowerLeg": "Foot", "UpperArm": "LowerArm", "LowerArm": "Hand"}
_DOWN, _FORWARDS = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])
# Bones of one person differ by less from frame to frame.
_SAME_M = 1e-4
_SIDEWAYS = {"Left": np.array([1.0, 0.0, 0.0]), "Right": np.array([-1.0, 0.0, 0.0])}


def _bones() -> dict[str, tuple[str, str | None]]:
    """Humanoid bone → our joint, and the humanoid's parent; parents come first."""
    bones: dict[str, tuple[str, str | None]] = {
        "Hips": ("root", None),
        "Spine": ("spine04", "Hips"),
        "Chest": ("spine02", "Spine"),
        "UpperChest": ("spine01", "Chest"),
        "Neck": ("neck01", "UpperChest"),
        "Head": ("head", "Neck"),
    }
    for end, side in _SIDES:
        chain = ("Shoulder", "clavicle"), ("UpperArm", "upperarm01"), ("LowerArm", "lowerarm01"), ("Hand", "wrist")
        parent = "UpperChest"
        for bone, joint in chain:
            bones[f"{side}{bone}"] = f"{joint}.{end}", parent
            parent = f"{side}{bone}"
        for number, finger in enumerate(_FINGERS, 1):
            parent = f"{side}Hand"
            for place, phalanx in enumerate(_PHALANGES, 1):
                bones[f"{side}{finger}{phalanx}"] = f"finger{number}-{place}.{end}", parent
                parent = f"{side}{finger}{phalanx}"
        parent = "Hips"
        for bone, joint in (("UpperLeg", "upperleg01"), ("LowerLeg", "lowerleg01"), ("Foot", "foot")):
            bones[f"{side}{bone}"] = f"{joint}.{end}", parent
            parent = f"{side}{bone}"
    return bones


BONES = _bones()
"""Bone of `HumanBodyBones` → joint of the body, and the bone's parent."""


@dataclass(frozen=True, slots=True)
class BonePose:
    """A bone relative to its parent, in Unity's axes.

    Args:
        position: x, y, z in metres; of the hips in the scene.
        rotation: quaternion x, y, z, w; the identity is the T-pose.
    """

    position: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


class Humanoid:
    """Turns bodies of one skeleton into humanoids.

    Args:
        names: of the skeleton's joints.

    Raises:
        ValueError: a joint is missing.
    """

    def __init__(self, names: Sequence[str]) -> None:
        index = {name: number for number, name in enumerate(names)}
        missing = [joint for joint, _ in BONES.values() if joint not in index]
        if missing:
            raise ValueError(f"the skeleton has no {missing[0]}")
        self._joint = {bone: index[joint] for bone, (joint, _) in BONES.items()}
        # In the order of the bones; the hips are their own parent.
        order = list(BONES)
        self._joints = np.array(list(self._joint.values()))
        self._parents = np.array([order.index(parent or "Hips") for _, parent in BONES.values()])
        self._lengths_m: Float64Array = np.zeros(len(order))
        self._rest: Float64Array = np.zeros((len(order), 3, 3))

    def pose(self, positions: FloatArray, rotations: FloatArray, origin: Float64Array) -> dict[str, BonePose]:
        """The bones of a body.

        Args:
            positions, rotations: (J, 3) metres and (J, 3, 3) of its joints in camera space.
            origin: (3,) what is the origin of Unity's scene, y up.
        """
        places = (positions * Y_UP).astype(np.float64)
        turns = (rotations * Y_UP[:, None] * Y_UP).astype(np.float64)
        spans = places[self._joints] - places[self._joints[self._parents]]
        lengths_m = np.linalg.norm(spans, axis=1)
        # How bodies are at rest follows from their shape, which changes seldom.
        if np.abs(lengths_m - self._lengths_m).max() > _SAME_M:
            at_rest = (self._at_rest(bone, places, turns) for bone in BONES)
            self._rest = np.stack([np.eye(3) if rest is None else rest for rest in at_rest])
            self._lengths_m = lengths_m
        turned = turns[self._joints] @ self._rest
        above = turned[self._parents].transpose(0, 2, 1)
        spans, local = (above @ spans[..., None])[..., 0], above @ turned
        spans[0], local[0] = places[self._joints[0]] - origin, turned[0]
        # Mirrored along x, a rotation about x keeps its sense, and those about y and z change it.
        quaternions = (Rotation.from_matrix(local).as_quat() * (1, -1, -1, 1)).tolist()
        found = zip(BONES, (spans * (-1, 1, 1)).tolist(), quaternions, strict=True)
        return {bone: BonePose(tuple(place), tuple(rotation)) for bone, place, rotation in found}

    def _at_rest(self, bone: str, positions: Float64Array, rotations: Float64Array) -> Float64Array | None:
        """(3, 3) T⁻¹, from the T-pose to the bone's rest pose; None if they are the same."""

        def direction(start: str, end: str, joint: str) -> Float64Array:
            """From one bone to another at rest; both move with the same joint."""
            span: Float64Array = positions[self._joint[end]] - positions[self._joint[start]]
            return np.asarray(rotations[self._joint[joint]].T @ span)

        side = "Left" if bone.startswith("Left") else "Right"
        part = bone.removeprefix(side)
        if part in _NEXT:
            goal = _DOWN if part.endswith("Leg") else _SIDEWAYS[side]
            return _turn(goal, direction(bone, side + _NEXT[part], bone))
        if part != "Hand" and not part.startswith(_FINGERS):
            return None
        # Palms are down, and thumbs as they are on the hand.
        hand = f"{side}Hand"
        across = direction(f"{side}LittleProximal", f"{side}IndexProximal", hand)
        start, end = hand, f"{side}MiddleProximal"
        for finger in _FINGERS[1:]:
            if part.startswith(finger):
                first = "Proximal" if part.endswith("Proximal") else "Intermediate"
                start, end = f"{side}{finger}{first}", f"{side}{finger}{_PHALANGES[_PHALANGES.index(first) + 1]}"
        return _frame(direction(start, end, start), across) @ _frame(_SIDEWAYS[side], _FORWARDS).T


def _turn(start: Float64Array, end: Float64Array) -> Float64Array:
    """(3, 3) the smallest rotation that takes one direction to another; they are not opposite."""
    one, other = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(one, other)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turned: Float64Array = np.eye(3) + skew + skew @ skew / (1 + max(float(one @ other), -0.999))
    return turned


def _frame(along: Float64Array, across: Float64Array) -> Float64Array:
    """(3, 3) orthonormal columns: the first direction, the part of the second that is square to it, and their cross."""
    first = along / np.linalg.norm(along)
    second = across - first * (across @ first)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)


# How far the irises of the body turn at full activation, and where its eyes are in the axes of the head, in Unity's.
_SIDEWAYS_DEG, _UP_DEG, _DOWN_DEG, _EYE_M = 20.0, 10.0, 15.0, (0.030, 0.042, 0.078)

PERFECT_SYNC: tuple[str, ...] = tuple(name[0].upper() + name[1:] for name in FACIAL_ACTIONS)


def expressions(activations: FloatArray) -> Mapping[str, float]:
    """Name → 0…1, of activations (52,) in the order of `FACIAL_ACTIONS`."""
    values = activations.astype(float).tolist()
    return dict(zip(PERFECT_SYNC, values, strict=True)) | _vrm(dict(zip(FACIAL_ACTIONS, values, strict=True)))


def eye_bones(activations: FloatArray) -> Mapping[str, BonePose]:
    """Bone → where it looks, relative to the head, of activations (52,)."""
    actions = dict(zip(FACIAL_ACTIONS, activations.astype(float).tolist(), strict=True))
    bones = {}
    for side, outwards in (("Left", -1.0), ("Right", 1.0)):
        look = {way: actions[f"eyeLook{way}{side}"] for way in ("In", "Out", "Up", "Down")}
        # Unity is left-handed: positive turns are to the person's right, and down.
        right = outwards * _SIDEWAYS_DEG * (look["Out"] - look["In"])
        down = _DOWN_DEG * look["Down"] - _UP_DEG * look["Up"]
        x, y, z, w = Rotation.from_euler("YX", (right, down), degrees=True).as_quat().tolist()
        bones[f"{side}Eye"] = BonePose((outwards * _EYE_M[0], *_EYE_M[1:]), (x, y, z, w))
    return bones


def _vrm(actions: Mapping[str, float]) -> dict[str, float]:
    def mean(*names: str) -> float:
        return sum(actions[name] for name in names) / len(names)

    # Vowels share the opening of the mouth: wide ones, round ones, and the others.
    opened = max(actions["jawOpen"] - actions["mouthClose"], 0.0)
    rounded = max(actions["mouthFunnel"], actions["mouthPucker"])
    wide = min(mean("mouthStretchLeft", "mouthStretchRight"), 1 - rounded)
    return {
        "A": opened * (1 - rounded - wide),
        "I": (1 - opened) * wide,
        "U": (1 - opened) * rounded,
        "E": opened * wide,
        "O": opened * rounded,
        "Blink_L": actions["eyeBlinkLeft"],
        "Blink_R": actions["eyeBlinkRight"],
        "LookUp": mean("eyeLookUpLeft", "eyeLookUpRight"),
        "LookDown": mean("eyeLookDownLeft", "eyeLookDownRight"),
        "LookLeft": mean("eyeLookOutLeft", "eyeLookInRight"),
        "LookRight": mean("eyeLookInLeft", "eyeLookOutRight"),
        "Joy": mean("mouthSmileLeft", "mouthSmileRight"),
        "Angry": mean("browDownLeft", "browDownRight"),
        "Sorrow": mean("mouthFrownLeft", "mouthFrownRight"),
    }
