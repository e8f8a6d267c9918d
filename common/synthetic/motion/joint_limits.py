"""Joint limits and the relaxed pose of a standing person.

Limits apply to the components of a joint's rotation vector in the joint's own axes.  For elbows and wrists these are
bone, hinge and their cross product (`reference_skeleton.bone_frame`); for all other joints they are the body's axes, in
which a positive rotation about x bends trunk and head forward, swings a leg back and flexes a knee.  The tables are for
the left side; the right side is mirrored.
"""

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX, JOINTS, MIRROR_TURN_SIGNS, MIRRORED_JOINTS
from common.synthetic.motion.reference_skeleton import bone_frame

_SPINE = ((-0.22, 0.28), (-0.16, 0.16), (-0.16, 0.16))
_NECK = ((-0.40, 0.60), (-0.60, 0.60), (-0.35, 0.35))
_UNLIMITED = ((-np.pi, np.pi),) * 3
# Elbows are bent by 43 degrees in the rest pose, so a straight arm is at -0.75 on the hinge.
_LEFT: dict[str, tuple[tuple[float, float], ...]] = {
    "root": _UNLIMITED,
    **{f"spine0{number}": _SPINE for number in range(1, 6)},
    "neck01": _NECK,
    "head": _NECK,
    "clavicle.L": ((-0.20, 0.20), (-0.30, 0.40), (-0.60, 0.20)),
    "upperarm01.L": _UNLIMITED,
    "lowerarm01.L": ((-1.40, 1.40), (-0.78, 1.95), (-0.35, 0.35)),
    "wrist.L": ((-1.00, 1.00), (-1.10, 1.10), (-0.80, 0.80)),
    "upperleg01.L": ((-2.20, 0.80), (-0.90, 0.90), (-1.20, 0.60)),
    "lowerleg01.L": ((-0.15, 2.50), (-0.25, 0.25), (-0.15, 0.15)),
    "foot.L": ((-0.90, 1.00), (-0.70, 0.70), (-0.50, 0.50)),
}
_RELAXED: dict[str, tuple[float, float, float]] = {
    "lowerarm01.L": (0.0, -0.30, 0.0),
    "upperleg01.L": (-0.20, 0.0, 0.05),
    "lowerleg01.L": (0.25, 0.0, 0.0),
    "foot.L": (-0.05, 0.0, 0.0),
}
_BONE_AXES_JOINTS = ("lowerarm01.", "wrist.")


def _table() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    axes = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    low, high, relaxed = (np.zeros((len(JOINTS), 3)) for _ in range(3))
    for index, joint in enumerate(JOINTS):
        bone_axes = joint.startswith(_BONE_AXES_JOINTS)
        if bone_axes:
            axes[index] = bone_frame(joint)
        left = joint.replace(".R", ".L")
        bounds = np.array(_LEFT[left])
        centre = np.array(_RELAXED.get(left, (0.0, 0.0, 0.0)))
        if joint.endswith(".R"):
            # Mirroring keeps the sign of the hinge component in bone axes, and of x in the body's axes.
            flips = np.array([True, False, True]) if bone_axes else np.array([False, True, True])
            bounds = np.where(flips[:, None], -bounds[:, ::-1], bounds)
            centre = np.where(flips, -centre, centre)
        low[index], high[index], relaxed[index] = bounds[:, 0], bounds[:, 1], centre
    return tuple(part.astype(np.float32) for part in (axes, low, high, relaxed))  # type: ignore[return-value]


AXES, LOW, HIGH, RELAXED = _table()
"""(22, 3, 3) the joints' axes as columns; (22, 3) lower limits, upper limits, relaxed pose on these axes, radians."""


def to_axes(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3) rotation vectors → their components on each joint's axes."""
    return np.asarray(np.einsum("...jk,jka->...ja", rotation_vectors, AXES), dtype=np.float32)


def from_axes(components: FloatArray) -> FloatArray:
    """The inverse of `to_axes`."""
    return np.asarray(np.einsum("...ja,jka->...jk", components, AXES), dtype=np.float32)


def clamp(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3) with every joint clamped to its limits, except root and shoulders, which have none."""
    clipped = from_axes(np.clip(to_axes(rotation_vectors), LOW, HIGH))
    for joint in ("root", "upperarm01.L", "upperarm01.R"):
        clipped[..., JOINT_INDEX[joint], :] = rotation_vectors[..., JOINT_INDEX[joint], :]
    return clipped


def mirror(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3): the mirrored pose."""
    return np.asarray(rotation_vectors[..., MIRRORED_JOINTS, :] * MIRROR_TURN_SIGNS, dtype=np.float32)


def mirror_curl(curl: FloatArray) -> FloatArray:
    """(..., 4): the curls of the mirrored pose."""
    return curl[..., [2, 3, 0, 1]]
