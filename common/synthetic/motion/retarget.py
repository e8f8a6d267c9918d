"""Motions of other rigs on our skeleton: rigs, reference skeleton, retargeting and inverse kinematics.

Axes are those of the camera that the person faces: x right, which is the person's left, y down, z forward; metres.
Positions are those of Anny's default body in the rest pose, relative to the origin of its template.

Skeletons of motion capture as tables: how the bones of a source relate to our joints.

A constant alignment per bone relates the axes of the source's bone to our rest pose; the rotation of our joint is then
`axes · source · alignment`.  Limbs are aligned by the direction of the bone and by the hinge at its end, so that elbows
and knees point where the source's point, whatever its rest pose.  A positive rotation about a hinge flexes the limb.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from common.arrays import Float64Array
from common.body.anatomy import CURLS, JOINT_INDEX, JOINTS

_PARENT_NAMES: tuple[str, ...] = (
    *("", "root", "spine05", "spine04", "spine03", "spine02", "spine01", "neck01"),
    *("spine01", "clavicle.L", "upperarm01.L", "lowerarm01.L"),
    *("spine01", "clavicle.R", "upperarm01.R", "lowerarm01.R"),
    *("root", "upperleg01.L", "lowerleg01.L"),
    *("root", "upperleg01.R", "lowerleg01.R"),
)
PARENTS: tuple[int, ...] = tuple(JOINT_INDEX[name] if name else -1 for name in _PARENT_NAMES)

_REST: dict[str, tuple[float, float, float]] = {
    "root": (0.0, -0.050, -0.011),
    "spine05": (0.0, -0.050, -0.011),
    "spine04": (0.0, -0.118, 0.022),
    "spine03": (0.0, -0.186, 0.010),
    "spine02": (0.0, -0.261, 0.008),
    "spine01": (0.0, -0.394, 0.032),
    "neck01": (0.0, -0.560, -0.008),
    "head": (0.0, -0.657, -0.042),
    "clavicle.L": (0.022, -0.493, -0.026),
    "upperarm01.L": (0.162, -0.467, -0.017),
    "lowerarm01.L": (0.329, -0.279, -0.021),
    "wrist.L": (0.446, -0.164, -0.179),
    "upperleg01.L": (0.102, -0.039, -0.008),
    "lowerleg01.L": (0.135, 0.350, -0.040),
    "foot.L": (0.177, 0.749, -0.004),
}
_TIPS: dict[str, tuple[float, float, float]] = {
    "head": (0.0, -0.857, -0.042),
    "wrist.L": (0.488, -0.114, -0.256),
    "foot.L": (0.190, 0.796, -0.140),
}
# From the knuckle of the little finger to that of the index finger, left hand.
_KNUCKLES_LEFT = np.array([-0.025, -0.028, -0.053])


def _both_sides(table: dict[str, tuple[float, float, float]]) -> dict[str, Float64Array]:
    left = {name: np.array(point) for name, point in table.items()}
    right = {f"{name[:-2]}.R": mirror_point(point) for name, point in left.items() if name.endswith(".L")}
    return left | right


def mirror_point(point: Float64Array) -> Float64Array:
    """(..., 3) reflected in the body's plane of symmetry."""
    return np.asarray(point * np.array([-1.0, 1.0, 1.0]))


REST: dict[str, Float64Array] = _both_sides(_REST)
TIPS: dict[str, Float64Array] = _both_sides(_TIPS)
REST_POSITIONS: Float64Array = np.stack([REST[name] for name in JOINTS])


def bone_end(joint: str) -> Float64Array:
    """End of the bone that starts at a joint, in the rest pose: the next joint, or the knuckle, toe or crown."""
    if joint in TIPS:
        return TIPS[joint]
    # For the chest this is the neck, which precedes the clavicles.
    child = _PARENT_NAMES.index(joint)
    return REST[JOINTS[child]]


def bone_direction(joint: str) -> Float64Array:
    """Unit vector along the bone in the rest pose."""
    along = bone_end(joint) - REST[joint]
    return np.asarray(along / np.linalg.norm(along))


def hinge_axis(joint: str) -> Float64Array:
    """Unit axis about which a positive rotation flexes the limb: elbow for arms, knee for legs, knuckles for hands.

    It is perpendicular to the bone, in the rest pose.
    """
    side = joint[-2:]
    if joint.startswith(("upperleg", "lowerleg", "foot")):
        axis = np.array([1.0, 0.0, 0.0])
    elif joint.startswith("wrist"):
        # Mirroring reverses the sense of rotation, so the axis is mirrored and negated.
        axis = _KNUCKLES_LEFT if side == ".L" else -mirror_point(_KNUCKLES_LEFT)
    else:
        axis = np.cross(bone_direction(f"upperarm01{side}"), bone_direction(f"lowerarm01{side}"))
    bone = bone_direction(joint)
    axis = axis - (axis @ bone) * bone
    return np.asarray(axis / np.linalg.norm(axis))


def bone_frame(joint: str) -> Float64Array:
    """(3, 3) with the columns bone, hinge, bone × hinge, in the rest pose."""
    return frame(bone_direction(joint), hinge_axis(joint))


def frame(along: Float64Array, hinge: Float64Array) -> Float64Array:
    """(..., 3) → (..., 3, 3) right-handed orthonormal frame by Gram-Schmidt: `along`, `hinge`, and their product."""
    first = along / np.linalg.norm(along, axis=-1, keepdims=True)
    second = hinge - np.sum(hinge * first, axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def forward_kinematics(local_rotations: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Local rotations (B, 22, 3, 3) → positions relative to the root (B, 22, 3), world rotations (B, 22, 3, 3)."""
    world = np.empty_like(local_rotations)
    positions = np.zeros(local_rotations.shape[:-1], dtype=local_rotations.dtype)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            world[:, joint] = local_rotations[:, joint]
            continue
        world[:, joint] = world[:, parent] @ local_rotations[:, joint]
        offset = REST_POSITIONS[joint] - REST_POSITIONS[parent]
        positions[:, joint] = positions[:, parent] + world[:, parent] @ offset
    return positions, world


def tip_positions(positions: Float64Array, world: Float64Array, joint: str) -> Float64Array:
    """(B, 3): position of the knuckle, toe or crown beyond the last joint."""
    index = JOINT_INDEX[joint]
    return positions[:, index] + world[:, index] @ (TIPS[joint] - REST[joint])


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


SIDES = (".L", ".R")
_SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
# The hinge of a straight limb counts as much as a bend by 33 degrees: elbows turn outwards by up to 20 where they end,
# and knees that are measured bend backwards by up to 15.
_HINGE_PRIOR = 0.3
_ANKLE_HEIGHT_M = 0.047
# A source that knows its floor is moved by at most this: nobody who flies is put on the ground.
_MAX_FLOOR_CORRECTION_M = 0.06


@dataclass(frozen=True, slots=True)
class Motion:
    """A retargeted clip.

    Args:
        name: source and file, such as `cmu/005_13`.
        local_rotations: (T, 22, 3, 3); the root's is the orientation in the world.
        root_translation: (T, 3) metres, camera axes; the floor is y = 0, so a standing pelvis is at y ≈ -0.85.
        fps: frames per second.
        curl: (T, 4) radians per phalanx in the order of `CURLS`; NaN if the source has no fingers.
        activity: what the source says that the person does, in words.
    """

    name: str
    local_rotations: Float64Array
    root_translation: Float64Array
    fps: float
    curl: Float64Array
    activity: str = ""


def aim(world: Float64Array, bone: Float64Array, target: Float64Array) -> Float64Array:
    """Adds to rotations (T, 3, 3) the minimal one that turns the bone (3,) to its target direction (T, 3)."""
    current = world @ bone
    target = target / np.linalg.norm(target, axis=-1, keepdims=True)
    axis = np.cross(current, target)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.sum(current * target, axis=-1, keepdims=True))
    correction = Rotation.from_rotvec(axis / np.maximum(sine, 1e-9) * angle).as_matrix()
    return np.asarray(correction @ world)


def hinged(along: Float64Array, beyond: Float64Array, straight: Float64Array, limb: str) -> dict[str, Float64Array]:
    """World rotations of both joints of a limb, which bends about its hinge only.

    Args:
        along, beyond: (T, 3) unit vectors from the first joint to the second, and from there to the end.
        straight: (T, 3) hinge of the limb while it is straight and shows none.
        limb: `upperarm01` or `upperleg01`, with its side.
    """
    across = np.cross(along, beyond)
    hinge = across * np.linalg.norm(across, axis=-1, keepdims=True) + _HINGE_PRIOR * straight
    lower = NEXT[limb[:-2]] + limb[-2:]
    return {joint: frame(bone, hinge) @ bone_frame(joint).T for joint, bone in ((limb, along), (lower, beyond))}


def twist(rotations: Float64Array, axis: Float64Array) -> Float64Array:
    """(T, 3, 3) → (T,) rotation about a unit axis by swing-twist decomposition, continuous, from -π…π."""
    quaternion = Rotation.from_matrix(rotations).as_quat()
    angle = 2.0 * np.arctan2(quaternion[:, :3] @ axis, quaternion[:, 3])
    return np.asarray(np.unwrap((angle + np.pi) % (2.0 * np.pi) - np.pi))


def with_spine(world: dict[str, Float64Array]) -> dict[str, Float64Array]:
    """Distributes the bend of the back over five joints and that of the neck over two."""
    complete = dict(world)
    for k, joint in enumerate(_SPINE[:-1]):
        complete[joint] = _interpolate(world["root"], world["spine01"], (k + 1) / len(_SPINE))
    complete["neck01"] = _interpolate(world["spine01"], world["head"], 0.5)
    return _distribute_twist(complete)


def _interpolate(start: Float64Array, end: Float64Array, share: float) -> Float64Array:
    difference = Rotation.from_matrix(np.swapaxes(start, -1, -2) @ end).as_rotvec()
    return np.asarray(start @ Rotation.from_rotvec(share * difference).as_matrix())


def _distribute_twist(world: dict[str, Float64Array]) -> dict[str, Float64Array]:
    """Gives the forearm half of the hand's twist about its axis, which prevents collapsed skin at the wrist."""
    distributed = dict(world)
    for side in SIDES:
        forearm, bone = world[f"lowerarm01{side}"], bone_direction(f"lowerarm01{side}")
        angle = twist(np.swapaxes(forearm, -1, -2) @ world[f"wrist{side}"], bone)
        half = Rotation.from_rotvec(0.5 * angle[:, None] * bone).as_matrix()
        distributed[f"lowerarm01{side}"] = forearm @ half
    return distributed


def motion_of(
    name: str,
    world: dict[str, Float64Array],
    root: Float64Array,
    fps: float,
    curl: Float64Array | None = None,
    ankle_height_m: float | None = None,
) -> Motion:
    """A motion from world rotations (T, 3, 3) by joint and root positions (T, 3).

    Args:
        ankle_height_m: of the source's body, scaled to ours, if y = 0 is the floor; None if the floor is unknown.
    """
    stacked = np.stack([world[joint] for joint in JOINTS], axis=1)
    local = stacked.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(stacked[:, parent], -1, -2) @ stacked[:, joint]
    if curl is None:
        curl = np.full((len(root), len(CURLS)), np.nan)
    return Motion(name, local, _on_the_floor(local, root, ankle_height_m), fps, curl)


def _on_the_floor(local: Float64Array, root: Float64Array, ankle_height_m: float | None) -> Float64Array:
    """Root positions that start above the origin, with the feet on y = 0 in most frames."""
    positions, world = forward_kinematics(local)
    toes = np.stack([tip_positions(positions, world, f"foot{side}")[:, 1] for side in SIDES], axis=-1)
    ankles = positions[:, [JOINT_INDEX["foot.L"], JOINT_INDEX["foot.R"]], 1] + _ANKLE_HEIGHT_M
    lowest = np.maximum(toes, ankles).max(axis=-1)
    shifted = root - root[:1] * np.array([1.0, 0.0, 1.0])
    below = np.quantile(shifted[:, 1] + lowest, 0.9)
    if ankle_height_m is not None:
        below = np.quantile(shifted[:, 1] + np.maximum(lowest, positions[..., 1].max(axis=-1)), 0.9)
        expected = _ANKLE_HEIGHT_M - ankle_height_m
        below = expected + np.clip(below - expected, -_MAX_FLOOR_CORRECTION_M, _MAX_FLOOR_CORRECTION_M)
    shifted[:, 1] -= below
    return np.asarray(shifted)


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate: spherical interpolation of rotations, linear interpolation of the others."""
    count = len(motion.local_rotations)
    if count < 2:
        return motion
    times = np.arange(count) / motion.fps
    new_times = np.arange(0.0, times[-1] + 1e-9, 1.0 / fps)
    rotations = np.empty((len(new_times), *motion.local_rotations.shape[1:]))
    for joint in range(rotations.shape[1]):
        rotations[:, joint] = Slerp(times, Rotation.from_matrix(motion.local_rotations[:, joint]))(
            new_times
        ).as_matrix()
    translation, curl = (
        np.stack([np.interp(new_times, times, column) for column in values.T], axis=-1)
        for values in (motion.root_translation, motion.curl)
    )
    return replace(motion, local_rotations=rotations, root_translation=translation, fps=fps, curl=curl)


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
