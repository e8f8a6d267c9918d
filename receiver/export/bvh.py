"""Biovision hierarchy (BVH): the skeleton and the motion of one character, for motion capture tools.

In centimetres, as is usual in BVH, y up, facing z. Rotations are intrinsic Euler angles z, x, y in degrees. All joints
have rotation channels, and the root has its position too. The offset of the root is zero, because readers disagree
whether it is added to the position. Format: M. Meredith, S. Maddock, "Motion Capture File Formats Explained", 2001.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.errors import UsageError
from receiver.export.character import Character

_CM = 100.0
_EULER = "ZXY"
_ROTATIONS = "Zrotation Xrotation Yrotation"
_MAX_FRAMES = 1_000_000


def encode_bvh(character: Character, frame_rate: float, first: int = 0) -> Iterator[bytes]:
    """The file of a character in parts; it stands still while it is not there.

    Files of people are in step: frame n is `n / frame_rate` seconds on the clock of all characters.

    Args:
        first: the number of the file's first frame.

    Raises:
        UsageError: there would be too many frames.
    """
    last_s = float(character.motion.times_s[-1])
    # A frame at the very end must not be lost to rounding.
    frames = max(int(last_s * frame_rate + 1e-3) + 1 - first, 1)
    if frames > _MAX_FRAMES:
        raise UsageError(
            f"{last_s:.0f} s at {frame_rate:g} frames a second are {frames} frames, more than {_MAX_FRAMES}: "
            "choose a part with --from and --to"
        )
    motion = character.motion.resampled(np.arange(first, first + frames) / frame_rate, character.present)
    yield "\n".join(["HIERARCHY", *_hierarchy(character), "MOTION", f"Frames: {frames}", ""]).encode()
    yield f"Frame Time: {1 / frame_rate:.8f}\n".encode()
    angles = _euler_degrees(motion.rotations)[:, _depth_first(character)]
    rows = np.concatenate([_CM * motion.root_positions, angles.reshape(frames, -1)], axis=1)
    row_format = " ".join(["%.4f"] * rows.shape[1]) + "\n"
    for row in rows:
        yield (row_format % tuple(row.tolist())).encode()


def _euler_degrees(rotations: FloatArray) -> Float64Array:
    """(N, J, 4) quaternions → (N, J, 3) degrees about z, x, y; each angle is continuous from frame to frame."""
    with warnings.catch_warnings():
        # With x at ±90° the split between z and y is arbitrary, and the rotation is still exact.
        warnings.filterwarnings("ignore", message="Gimbal lock detected")
        angles = Rotation.from_quat(rotations.reshape(-1, 4)).as_euler(_EULER, degrees=True)
    return np.unwrap(angles.reshape(*rotations.shape[:2], 3), period=360.0, axis=0)


def _depth_first(character: Character, joint: int = 0) -> list[int]:
    """The order of the joints in the file."""
    children = np.flatnonzero(character.skeleton.parents == joint).tolist()
    return [joint, *(found for child in children for found in _depth_first(character, child))]


def _hierarchy(character: Character, joint: int = 0, depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    root = joint == 0
    yield f"{indent}{'ROOT' if root else 'JOINT'} {character.skeleton.names[joint]}"
    yield f"{indent}{{"
    yield f"{indent}  OFFSET {_offset(np.zeros(3) if root else character.offsets[joint])}"
    position = "6 Xposition Yposition Zposition" if root else "3"
    yield f"{indent}  CHANNELS {position} {_ROTATIONS}"
    children = np.flatnonzero(character.skeleton.parents == joint).tolist()
    for child in children:
        yield from _hierarchy(character, child, depth + 1)
    if not children:
        yield from (f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {_offset(_tip(character, joint))}")
        yield f"{indent}  }}"
    yield f"{indent}}}"


def _tip(character: Character, joint: int) -> Float64Array:
    """(3,) from a joint without children to its farthest vertex: a fingertip, the crown, the toes."""
    skeleton, mesh = character.skeleton, character.mesh
    strongest = np.take_along_axis(
        skeleton.vertex_joints, skeleton.vertex_weights.argmax(axis=1, keepdims=True), axis=1
    )[:, 0]
    reach = mesh.vertices[strongest == joint] - character.rest_positions[joint]
    if not len(reach):
        return np.zeros(3)
    farthest: Float64Array = reach[np.linalg.norm(reach, axis=1).argmax()].astype(np.float64)
    return farthest


def _offset(metres: Float64Array) -> str:
    return " ".join(f"{_CM * value:.5f}" for value in metres)
