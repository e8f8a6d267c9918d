"""Avatars of another hand, which come without pictures, painted by what they wear."""

from dataclasses import dataclass

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.train.avatars import Avatar

# COCO's joints from the shoulders down, and the bones that begin there.
_BONES = {5: "L UpperArm", 7: "L Forearm", 9: "L Hand", 11: "L Thigh", 13: "L Calf", 15: "L Foot"}
JOINTS = tuple(sorted((*_BONES, *(joint + 1 for joint in _BONES))))
"""Rows of COCO's keypoints that an avatar has."""
_SKIN = np.array([[224, 182, 155], [198, 146, 110], [141, 96, 68], [92, 62, 44]])
_HAIR = np.array([[40, 30, 24], [84, 58, 36], [150, 112, 64], [96, 92, 88]])
# Where sleeves and trousers end: 0 at shoulder and hip, 1 at elbow and knee, 2 at wrist and ankle.
_SLEEVES = {"bare": -1.0, "sleeveless": 0.05, "short": 0.7}
_LEGS = {"shorts": 0.75, "knee": 1.1, "skirt_short": 0.8, "brief": 0.1}
_LONG_LAYERS = ("coat", "robe", "dress")
# Of the head, what is so far above the eyes or behind them is hair.
_HAIRLINE_M, _BEHIND_M = 0.055, 0.1


@dataclass(frozen=True, eq=False)
class PaintedAvatar:
    """An avatar in camera axes, standing on y = 0.

    Args:
        mesh: with colours.
        joints: (12, 3) of `JOINTS`, metres.
    """

    mesh: SurfaceMesh
    joints: Float64Array


def joints_of(avatar: Avatar) -> Float64Array:
    """(12, 3) of `JOINTS`."""
    sided = {
        joint: bone
        for row, bone in _BONES.items()
        for joint, bone in ((row, bone), (row + 1, bone.replace("L", "R", 1)))
    }
    return np.stack([avatar.joints[bone_named(avatar, sided[joint])] for joint in JOINTS])


def bone_named(avatar: Avatar, name: str) -> str:
    """The bone with its prefix, which children have another one of. Raises KeyError."""
    return next((bone for bone in avatar.joints if bone.partition(" ")[2] == name), name)


def painted(avatar: Avatar, rng: np.random.Generator) -> PaintedAvatar:
    """The avatar in colours at random: skin, hair, top, bottom, headwear and shoes each of one."""
    wears = avatar.attributes
    skin, hair = _SKIN[rng.integers(len(_SKIN))], _HAIR[rng.integers(len(_HAIR))]
    top, bottom, hat, shoe = rng.uniform(20, 235, (4, 3))
    if wears["layer"] in _LONG_LAYERS:
        bottom = top
    colours = np.broadcast_to(top, (len(avatar.points), 3)).copy()
    short = np.array([bone.partition(" ")[2] for bone in avatar.bone])
    legs = np.isin(short, ("L Thigh", "R Thigh", "L Calf", "R Calf", "Pelvis"))
    colours[legs] = bottom
    along = _along_limbs(avatar, short)
    for (first, second), end in (
        (("UpperArm", "Forearm"), _SLEEVES.get(wears["sleeve"], 9.0)),
        (("Thigh", "Calf"), _LEGS.get(wears["bottom"], 9.0)),
    ):
        limb = np.isin(short, [f"{side} {part}" for side in "LR" for part in (first, second)])
        colours[limb & (along > end)] = skin
    colours[np.char.find(short, "Finger") >= 0] = colours[np.isin(short, ("L Hand", "R Hand"))] = skin
    feet = np.isin(short, [f"{side} {part}" for side in "LR" for part in ("Foot", "Toe0")])
    shaft = np.isin(short, ("L Calf", "R Calf")) & (along > 1.5) & (wears["shoes"] == "boots")
    colours[feet | shaft] = skin if wears["shoes"] == "barefoot" else shoe
    head, scalp = _head(avatar)
    colours[head] = skin
    colours[scalp] = hat if wears["headwear"] != "none" else skin if wears["hair"] == "bald" else hair
    mesh = SurfaceMesh(avatar.points.astype(np.float32), avatar.faces.astype(np.int32), colours.astype(np.uint8))
    return PaintedAvatar(mesh, joints_of(avatar))


def _along_limbs(avatar: Avatar, bone: "np.ndarray[tuple[int], np.dtype[np.str_]]") -> FloatArray:
    """(N,) how far down a limb each point is: 0…1 along its upper part, 1…2 along its lower one; 0 elsewhere."""
    along = np.zeros(len(avatar.points), np.float32)
    for parts in (("UpperArm", "Forearm", "Hand"), ("Thigh", "Calf", "Foot")):
        for side in "LR":
            ends = [avatar.joints[bone_named(avatar, f"{side} {part}")] for part in parts]
            for number, part in enumerate(parts[:2]):
                start, axis = ends[number], ends[number + 1] - ends[number]
                rows = bone == f"{side} {part}"
                along[rows] = number + np.clip((avatar.points[rows] - start) @ axis / (axis @ axis), 0, 1)
    return along


def _head(avatar: Avatar) -> tuple[BoolArray, BoolArray]:
    """(N,) the points of the head, and of them those under hair or headwear."""
    names = {name: bone_named(avatar, name) for name in ("Head", "LEye", "REye")}
    base = avatar.joints[names["Head"]]
    above = {name for name, joint in avatar.joints.items() if joint[1] < base[1]} | {names["Head"]}
    head = np.isin(avatar.bone, sorted(above))
    known = [avatar.joints[names[eye]] for eye in ("LEye", "REye") if names[eye] in avatar.joints]
    eyes = np.mean(known, axis=0) if known else base + np.array([0, -0.08, -0.09])
    up_m, back_m = eyes[1] - avatar.points[:, 1], avatar.points[:, 2] - eyes[2]
    return head, head & ((up_m > _HAIRLINE_M) | (back_m > _BEHIND_M))
