"""Retargeted motion, and the steps of retargeting that all sources have in common."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from common.arrays import Float64Array
from common.body.anatomy import CURLS, JOINT_INDEX, JOINTS
from common.synthetic.motion.reference_skeleton import (
    PARENTS,
    bone_direction,
    bone_frame,
    forward_kinematics,
    frame,
    tip_positions,
)
from common.synthetic.motion.rigs import NEXT

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


def heading(root_rotations: Float64Array) -> Float64Array:
    """(..., 3, 3) orientations → (...) rotation about the vertical by swing-twist decomposition, radians."""
    quaternion = Rotation.from_matrix(root_rotations.reshape(-1, 3, 3)).as_quat()
    angle = 2.0 * np.arctan2(quaternion[:, 1], quaternion[:, 3])
    return np.asarray(angle.reshape(root_rotations.shape[:-2]))
