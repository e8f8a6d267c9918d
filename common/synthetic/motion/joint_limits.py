"""How far each joint turns, and where it rests when a person stands at ease.

A joint's rotation vector is looked at in axes of its own: for elbows and wrists bone, hinge and their product
(`stick_figure.bone_frame`), for all others the body's axes, where a positive turn about x bends trunk and head forward,
swings a leg back and flexes a knee.  Limits are for the left side; the right side has the mirror image.
"""

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX, JOINTS, MIRRORED_JOINTS
from common.synthetic.motion.reference_skeleton import bone_frame

_SPINE = ((-0.22, 0.28), (-0.16, 0.16), (-0.16, 0.16))
_NECK = ((-0.40, 0.60), (-0.60, 0.60), (-0.35, 0.35))
_FREE = ((-np.pi, np.pi),) * 3
# Elbows bend 43 degrees at rest, so a straight arm stands at -0.75 on the hinge.
_LEFT: dict[str, tuple[tuple[float, float], ...]] = {
    "root": _FREE,
    **{f"spine0{number}": _SPINE for number in range(1, 6)},
    "neck01": _NECK,
    "head": _NECK,
    "clavicle.L": ((-0.20, 0.20), (-0.30, 0.40), (-0.60, 0.20)),
    "upperarm01.L": _FREE,
    "lowerarm01.L": ((-1.40, 1.40), (-0.78, 1.95), (-0.35, 0.35)),
    "wrist.L": ((-1.00, 1.00), (-1.10, 1.10), (-0.80, 0.80)),
    "upperleg01.L": ((-2.20, 0.80), (-0.90, 0.90), (-1.20, 0.60)),
    "lowerleg01.L": ((-0.15, 2.50), (-0.25, 0.25), (-0.15, 0.15)),
    "foot.L": ((-0.90, 1.00), (-0.70, 0.70), (-0.50, 0.50)),
}
_AT_EASE: dict[str, tuple[float, float, float]] = {
    "lowerarm01.L": (0.0, -0.30, 0.0),
    "upperleg01.L": (-0.20, 0.0, 0.05),
    "lowerleg01.L": (0.25, 0.0, 0.0),
    "foot.L": (-0.05, 0.0, 0.0),
}
_OWN_AXES = ("lowerarm01.", "wrist.")
_REFLECTION = np.array([1.0, -1.0, -1.0], dtype=np.float32)
"""A rotation vector in a mirror keeps its x and turns its y and z round."""


def _table() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    axes = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    low, high, ease = (np.zeros((len(JOINTS), 3)) for _ in range(3))
    for index, joint in enumerate(JOINTS):
        own = joint.startswith(_OWN_AXES)
        if own:
            axes[index] = bone_frame(joint)
        left = joint.replace(".R", ".L")
        bounds = np.array(_LEFT[left])
        centre = np.array(_AT_EASE.get(left, (0.0, 0.0, 0.0)))
        if joint.endswith(".R"):
            # In its own axes the hinge keeps its sign, in the body's axes x does.
            flips = np.array([True, False, True]) if own else np.array([False, True, True])
            bounds = np.where(flips[:, None], -bounds[:, ::-1], bounds)
            centre = np.where(flips, -centre, centre)
        low[index], high[index], ease[index] = bounds[:, 0], bounds[:, 1], centre
    return tuple(part.astype(np.float32) for part in (axes, low, high, ease))  # type: ignore[return-value]


AXES, LOW, HIGH, AT_EASE = _table()
"""(22, 3, 3) with the axes as columns; (22, 3) bounds and resting values on these axes, radians."""


def on_axes(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3) rotation vectors → their parts on each joint's own axes."""
    return np.asarray(np.einsum("...jk,jka->...ja", rotation_vectors, AXES), dtype=np.float32)


def from_axes(parts: FloatArray) -> FloatArray:
    """The inverse of `on_axes`."""
    return np.asarray(np.einsum("...ja,jka->...jk", parts, AXES), dtype=np.float32)


def clamp(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3) with every joint brought back within its limits; the root and the shoulders have none."""
    clipped = from_axes(np.clip(on_axes(rotation_vectors), LOW, HIGH))
    for joint in ("root", "upperarm01.L", "upperarm01.R"):
        clipped[..., JOINT_INDEX[joint], :] = rotation_vectors[..., JOINT_INDEX[joint], :]
    return clipped


def mirror(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3): left and right exchanged, as in a mirror."""
    return np.asarray(rotation_vectors[..., MIRRORED_JOINTS, :] * _REFLECTION, dtype=np.float32)


def mirror_curl(curl: FloatArray) -> FloatArray:
    """(..., 4): the curl of either hand exchanged."""
    return curl[..., [2, 3, 0, 1]]
