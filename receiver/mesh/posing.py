"""Poses meshes, and brings posed ones back to the rest pose: linear blend skinning and its inverse.

    v = Σ_j w_j (R_j (v_rest − r_j) + p_j)        v_rest = (Σ_j w_j R_j)⁻¹ (v − Σ_j w_j (p_j − R_j r_j))

for a vertex v with weights w_j, posed joints (R_j, p_j) and rest positions r_j, whose frames are those of the scene.

Shapes: N frames, V vertices, J joints.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from receiver.mesh.skinned_glb import Skeleton

Floats = npt.NDArray[np.floating[Any]]
"""Of single or double precision."""

# Where a joint is bent by half a turn, the blend of its rotations has no inverse.
_NEARLY_FLAT, _LEAST_STRETCH = 1e-2, 1e-3


def rest_positions(parents: list[int], offsets: Float64Array) -> Float64Array:
    """(J, 3) sums of the offsets from the root on; parents precede children."""
    positions = offsets.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            positions[joint] += positions[parent]
    return positions


def joint_transforms(rotations: Floats, parents: list[int], offsets: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Forward kinematics: orientations (N, J, 3, 3), and positions (N, J, 3) relative to the root, metres.

    Args:
        rotations: (N, J, 4) unit quaternions x, y, z, w, relative to the parent.
        offsets: (J, 3) from the parent, at rest; the root's does not matter.
    """
    shape = rotations.shape[:2]
    orientations = Rotation.from_quat(rotations.reshape(-1, 4)).as_matrix().reshape(*shape, 3, 3)
    positions = np.zeros((*shape, 3))
    for joint, parent in enumerate(parents):
        if parent >= 0:
            positions[:, joint] = positions[:, parent] + orientations[:, parent] @ offsets[joint]
            orientations[:, joint] = orientations[:, parent] @ orientations[:, joint]
    return orientations, positions


def blended_transforms(
    skeleton: Skeleton, rotations: Floats, positions: Floats, rest: Floats, every: int = 1
) -> Floats:
    """(V, 4, 3) of every n-th vertex, from the rest pose: the transposed matrix, then the translation.

    Args:
        rotations, positions: (J, 3, 3) and (J, 3) of the posed joints; the result is as precise as the latter.
        rest: (J, 3) of the joints at rest.
    """
    moves = positions - np.einsum("jab,jb->ja", rotations, rest)
    transforms: Floats = np.concatenate([rotations.transpose(0, 2, 1), moves[:, None]], axis=1, dtype=positions.dtype)
    blended: Floats = (_weights(skeleton, positions.dtype, every) @ transforms.reshape(-1, 12)).reshape(-1, 4, 3)
    return blended


def posed(rest: Floats, blended: Floats) -> Floats:
    """(V, 3) vertices at rest → posed."""
    x, y, z = np.ascontiguousarray(rest.T)
    along_x, along_y, along_z, moved = np.ascontiguousarray(blended.transpose(1, 2, 0))
    vertices: Floats = np.ascontiguousarray((x * along_x + y * along_y + z * along_z + moved).T)
    return vertices


def unposed(vertices: Floats, blended: Floats) -> Floats:
    """(V, 3) posed vertices → at rest: the inverse of `posed`, by Cramer's rule: LAPACK takes eight times as long."""
    x, y, z, moved = np.ascontiguousarray(blended.transpose(1, 2, 0))
    shifted = vertices.T - moved
    sides = _cross(y, z), _cross(z, x), _cross(x, y)
    volumes = (x * sides[0]).sum(axis=0)
    flat = np.abs(volumes) < _NEARLY_FLAT
    rest: Floats = np.stack([(side * shifted).sum(axis=0) for side in sides], axis=1)
    rest /= np.where(flat, 1, volumes)[:, None]
    inverse = np.linalg.pinv(blended[flat, :3].transpose(0, 2, 1), rcond=_LEAST_STRETCH)
    rest[flat] = (inverse @ shifted.T[flat][:, :, None])[:, :, 0]
    return rest


def _cross(a: Floats, b: Floats) -> Floats:
    """Cross products of vectors (3, V)."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@lru_cache(maxsize=16)
def _weights(skeleton: Skeleton, dtype: npt.DTypeLike, every: int) -> Any:
    """(V, J) sparse: skinning weights of every n-th vertex, each row with the sum 1."""
    joints, weights = (values[::every] for values in (skeleton.vertex_joints, skeleton.vertex_weights))
    shares = (weights / weights.sum(axis=1, keepdims=True, dtype=np.float64)).astype(dtype)
    rows = np.repeat(np.arange(len(joints)), joints.shape[1])
    matrix = coo_array((shares.ravel(), (rows, joints.ravel())), shape=(len(joints), len(skeleton.names))).tocsr()
    matrix.eliminate_zeros()
    return matrix
