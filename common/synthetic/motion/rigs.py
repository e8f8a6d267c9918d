"""Skeletons of motion capture as tables: how the bones of a source relate to our joints.

A constant alignment per bone relates the axes of the source's bone to our rest pose; the rotation of our joint is then
`axes · source · alignment`.  Limbs are aligned by the direction of the bone and by the hinge at its end, so that elbows
and knees point where the source's point, whatever its rest pose.  A positive rotation about a hinge flexes the limb.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.body.anatomy import JOINTS
from common.synthetic.motion.reference_skeleton import bone_frame, frame, mirror_point

NEXT = {"upperarm01": "lowerarm01", "lowerarm01": "wrist", "upperleg01": "lowerleg01", "lowerleg01": "foot"}
"""The joint at the end of each bone of arm and leg."""
_STEMS = (
    "root",
    "spine01",
    "head",
    "clavicle",
    *("upperarm01", "lowerarm01", "wrist"),
    *("upperleg01", "lowerleg01", "foot"),
)
TURNED: tuple[str, ...] = tuple(joint for joint in JOINTS if joint.partition(".")[0] in _STEMS)
"""The joints that bones of a source turn."""
_X, _Y, _Z = np.eye(3)


REST_FLEXION = 0.2
"""Flexion per phalanx of the open hand of our rest pose, radians."""


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """A skeleton. Vectors are those of the person's left side.

    Args:
        axes: (3, 3) from the source's world axes to ours.
        mirror: (3,) signs that a vector in the axes of a left bone has in those of the right bone.
        bones: the bones of root, chest, head, clavicle, upper arm, forearm, hand, thigh, shin and foot, `{}` for sides.
        rest: joint → (3, 3) axes of its bone in the source's world while the body is in our rest pose.
        elbow, knee: (3,) hinges in the axes of the bones before and behind them.
        foot: (3,) direction of ours in the axes of a foot that is flat on the floor.
        hand: bones at the knuckles of middle, index and little finger.
        sides: what stands for `{}`, left and right.
        curls: phalanges and the unit axis (3,) that flexes them, of the four fingers, then of the thumb; empty if they
            do not move.
        pelvis: bones whose middle is the root.
        leg_length: in the source's unit; None measures thigh and shin.
        ankle_height: over the floor y = 0, in the source's unit; None if the floor is unknown.
        drawn: elbows and knees turn about any axis, so the hinge is taken from where the limb bends.
    """

    axes: Float64Array
    mirror: Float64Array
    bones: tuple[str, ...]
    rest: Mapping[str, Float64Array]
    elbow: Float64Array
    knee: Float64Array
    foot: Float64Array
    hand: tuple[str, str, str] = ("", "", "")
    sides: tuple[str, str] = ("L", "R")
    curls: tuple[tuple[tuple[str, ...], Float64Array], ...] = ()
    pelvis: tuple[str, ...] = ()
    leg_length: float | None = None
    ankle_height: float | None = None
    drawn: bool = False

    def bone(self, joint: str) -> str:
        """The source's bone of one of our joints, such as `foot.L`."""
        stem, _, side = joint.partition(".")
        return self.named(self.bones[_STEMS.index(stem)], side)

    def named(self, bone: str, side: str) -> str:
        """A bone of this table on side `L` or `R`."""
        return bone.format(self.sides["LR".index(side)]) if side else bone

    def axis(self, left: Float64Array, side: str) -> Float64Array:
        """(3,) an axis of rotation on side `L` or `R`: mirroring reverses the sense of the rotation."""
        return np.asarray(left * self.mirror * np.prod(self.mirror)) if side == "R" else left

    def aligned(
        self, world: Mapping[str, Float64Array], offset_of: Callable[[str], Float64Array]
    ) -> dict[str, Float64Array]:
        """World rotations (T, 3, 3) of our joints from those of the source's bones, by name.

        Args:
            offset_of: the position of a bone in the axes of its parent, by name.
        """
        return {
            joint: self.axes @ world[self.bone(joint)] @ self._alignment(joint, offset_of)
            for joint in TURNED
            if self.bone(joint) in world
        }

    def _alignment(self, joint: str, offset_of: Callable[[str], Float64Array]) -> Float64Array:
        stem, _, side = joint.partition(".")
        signs = self.mirror if side == "R" else np.ones(3)
        if stem in self.rest:
            rest = self.rest[stem]
            if side == "R":
                rest = self.axes.T @ np.diag(mirror_point(np.ones(3))) @ self.axes @ rest @ np.diag(signs)
            return np.asarray(rest.T @ self.axes.T)
        hinge = self.axis(self.elbow if "arm" in stem else self.knee, side)
        if stem == "wrist":
            along, index, little = (offset_of(self.named(name, side)) for name in self.hand)
            hinge = (index - little) * np.prod(signs)
        elif stem == "foot":
            along = self.foot * signs
        else:
            along = offset_of(self.bone(f"{NEXT[stem]}.{side}"))
        return frame(along, hinge) @ bone_frame(joint).T


_FLIPPED = np.diag([1.0, -1.0, -1.0])
"""From x to the person's left, y up, z forward to our axes."""


# The ball of a foot flat on the floor is 19 degrees below the ankle in our skeleton, and 14 in CMU's rig.
_FOOT_DOWN, _FOOT_FORWARD = np.sin(np.deg2rad(19.0)), np.cos(np.deg2rad(19.0))
_CMU_FOOT_PITCH = np.deg2rad(5.0)

# Rotation of the left clavicle for relaxed shoulders, in our axes; the recordings hardly move it.
_CMU_CLAVICLE = Rotation.from_rotvec([0.19, -0.26, -0.05]).as_matrix()
CMU = Rig(
    axes=_FLIPPED,
    mirror=np.array([-1.0, 1.0, 1.0]),
    bones=(
        *("CC_Base_Hip", "CC_Base_Spine02", "CC_Base_Head", "CC_Base_{}_Clavicle"),
        *("CC_Base_{}_Upperarm", "CC_Base_{}_Forearm", "CC_Base_{}_Hand"),
        *("CC_Base_{}_Thigh", "CC_Base_{}_Calf", "CC_Base_{}_Foot"),
    ),
    rest={
        **dict.fromkeys(("root", "spine01", "head"), np.eye(3)),
        "clavicle": _FLIPPED @ _CMU_CLAVICLE @ _FLIPPED @ np.stack([-_Y, _X, _Z], axis=-1),
    },
    # Median axis of the left elbow in the recordings.
    elbow=np.array([0.86, 0.03, 0.51]),
    knee=-_X,
    foot=np.cos(_CMU_FOOT_PITCH) * _Y - np.sin(_CMU_FOOT_PITCH) * _Z,
    hand=("CC_Base_{}_Mid1", "CC_Base_{}_Index1", "CC_Base_{}_Pinky1"),
    pelvis=("CC_Base_Hip",),
    leg_length=97.5,
)
"""Rig of Character Creator: bones along y, parallel to the world's axes in the T-pose, centimetres."""

# Pelvis and chest of the avatars are upright in their rest pose, whose arms hang as ours do.
_BIPED_UPRIGHT = np.stack([_Y, _Z, _X], axis=-1)
ROCKETBOX = Rig(
    axes=_FLIPPED,
    mirror=np.array([1.0, 1.0, -1.0]),
    bones=(
        *("Bip01_Pelvis", "Bip01_Spine2", "Bip01_Head", "Bip01_{}_Clavicle"),
        *("Bip01_{}_UpperArm", "Bip01_{}_Forearm", "Bip01_{}_Hand"),
        *("Bip01_{}_Thigh", "Bip01_{}_Calf", "Bip01_{}_Foot"),
    ),
    rest={
        **dict.fromkeys(("root", "spine01"), _BIPED_UPRIGHT),
        "head": frame(np.array([0.0, 0.988, 0.154]), np.array([0.0, -0.154, 0.988])),
        "clavicle": frame(np.array([0.974, -0.226, -0.03]), np.array([-0.052, -0.1, -0.993])),
    },
    elbow=-_Z,
    knee=-_Z,
    foot=_FOOT_DOWN * _X + _FOOT_FORWARD * _Y,
    hand=("Bip01_{}_Finger2", "Bip01_{}_Finger1", "Bip01_{}_Finger4"),
    curls=(
        (tuple(f"Bip01_{{}}_Finger{finger}{joint}" for finger in range(1, 5) for joint in ("", 1, 2)), _Z),
        (("Bip01_{}_Finger01", "Bip01_{}_Finger02"), _Z),
    ),
    pelvis=("Bip01_L_Thigh", "Bip01_R_Thigh"),
    ankle_height=10.0,
)
"""A biped of 3ds Max: bones along x, hinges about z, centimetres."""

MESH2MOTION = Rig(
    axes=_FLIPPED,
    mirror=np.array([-1.0, 1.0, 1.0]),
    bones=(
        *("pelvis", "spine_03", "head", "clavicle_{}", "upperarm_{}", "lowerarm_{}", "hand_{}"),
        *("thigh_{}", "calf_{}", "foot_{}"),
    ),
    rest=dict.fromkeys(("root", "spine01", "head", "clavicle"), np.eye(3)),
    # Median axes of elbow and thumb in the clips.
    elbow=np.array([0.0, -0.99, -0.12]),
    knee=_X,
    foot=_FOOT_FORWARD * _Z - _FOOT_DOWN * _Y,
    hand=("middle_01_{}", "index_01_{}", "pinky_01_{}"),
    sides=("l", "r"),
    curls=(
        (tuple(f"{name}_0{k}_{{}}" for name in ("index", "middle", "ring", "pinky") for k in (1, 2, 3)), -_Z),
        (("thumb_02_{}", "thumb_03_{}"), np.array([0.51, 0.8602, 0.0])),
    ),
    pelvis=("thigh_l", "thigh_r"),
    ankle_height=8.5,
    drawn=True,
)
"""Zero rotation is the T-pose, every bone parallel to the world's axes; centimetres."""

DEEPMIMIC = Rig(
    axes=np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]),
    mirror=np.array([1.0, 1.0, -1.0]),
    bones=tuple(stem if stem in ("root", "spine01", "head") else f"{stem}.{{}}" for stem in _STEMS),
    rest=dict.fromkeys(("root", "spine01", "head", "foot"), np.eye(3)),
    elbow=_Z,
    knee=-_Z,
    foot=_X,
    leg_length=0.83,
)
"""x forward, y up, z to the person's right, metres; bones are named as ours, and the arms hang down at rest."""
