"""A skeleton of the 22 joints with average proportions, for motion retargeting and for hand-body penetration tests.

Axes are those of the camera that the person faces: x right, which is the person's left, y down, z forward; metres.
Positions are those of Anny's default body in the rest pose, relative to the origin of its template.
"""

import numpy as np

from common.arrays import Float64Array
from common.body.anatomy import JOINT_INDEX, JOINTS

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
