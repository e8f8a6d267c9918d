"""Joint rotations from joint positions in closed form: limbs point exactly where they were seen."""

from collections.abc import Mapping

import numpy as np

from common.arrays import Float64Array
from common.synthetic.motion.reference_skeleton import bone_direction, frame, hinge_axis, mirror_point
from common.synthetic.motion.retarget import SIDES, aim, hinged

_LEFT = np.eye(3)[0]
# Directions in which trunk and head point while these people stand, in our axes; what bends is measured from there.
_STANDING = {"root": ("pelvis", "chest", -0.03), "spine01": ("chest", "neck", 0.15), "head": ("neck", "head", -0.22)}
_ENDS = {"upperarm01": ("shoulder", "elbow", "wrist"), "upperleg01": ("hip", "knee", "ankle")}
# A limb turns from its rest pose over this direction to where it points: opposite to it, where no limb goes, it flips.
_VIA = {"upperarm01": np.array([0.4, 0.6, -0.7]), "upperleg01": np.array([0.0, 1.0, 0.0])}
_DOWN = np.eye(3)[1]


def inverse_kinematics(points: Mapping[str, Float64Array]) -> dict[str, Float64Array]:
    """World rotations (T, 3, 3) of our joints, without those of spine and neck between, from positions.

    Args:
        points: (T, 3) in our axes, of pelvis, chest, neck and head, and on both sides of shoulder, elbow, wrist, hand,
            hip, knee, ankle, heel and toe.
    """
    world: dict[str, Float64Array] = {}
    for joint, (start, end, lean) in _STANDING.items():
        across = "hip" if joint == "root" else "shoulder"
        left = points[f"{across}.L"] - points[f"{across}.R"]
        rest = frame(np.array([0.0, -np.cos(lean), np.sin(lean)]), _LEFT)
        world[joint] = frame(points[end] - points[start], left) @ rest.T
    for side in SIDES:
        shoulder = points[f"shoulder{side}"] - points["neck"]
        level = np.array([0.16 if side == ".L" else -0.16, 0.035, 0.011])
        world[f"clavicle{side}"] = aim(world["spine01"], level / np.linalg.norm(level), shoulder)
        for limb, ends in _ENDS.items():
            first, second, third = (points[f"{end}{side}"] for end in ends)
            along, beyond = _unit(second - first), _unit(third - second)
            parent = world["root" if limb == "upperleg01" else f"clavicle{side}"]
            bone, via = bone_direction(limb + side), _VIA[limb] if side == ".L" else mirror_point(_VIA[limb])
            straight = aim(aim(parent, bone, parent @ via), bone, along) @ hinge_axis(limb + side)
            world |= hinged(along, beyond, straight, limb + side)
        hand = points[f"hand{side}"] - points[f"wrist{side}"]
        world[f"wrist{side}"] = aim(world[f"lowerarm01{side}"], bone_direction(f"wrist{side}"), hand)
        flat = bone_direction(f"foot{side}") * np.array([1.0, 0.0, 1.0])
        sole, shin = points[f"toe{side}"] - points[f"heel{side}"], _unit(points[f"ankle{side}"] - points[f"knee{side}"])
        # Heel and toe do not show how the foot rolls: half with the shin, half flat.
        world[f"foot{side}"] = frame(sole, np.cross(sole, shin + _DOWN)) @ frame(flat, _LEFT).T
    return world


def _unit(vectors: Float64Array) -> Float64Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
