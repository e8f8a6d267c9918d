"""Skinned GLB files of one body with its skeleton, for Blender, Unity and Unreal.

The bind pose is the pose of the frame: vertices and joints are stored posed, and each inverse bind matrix inverts the
transform of its joint.  Readers with and without skinning therefore show the same body.
"""

from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from common.arrays import ByteArray, Float64Array, FloatArray, IntArray
from common.frames import seen_limbs
from receiver.mesh.face_shapes import FaceShapes, rounded_weights
from receiver.mesh.glb import GlbWriter, Node
from receiver.mesh.mesh_files import Y_UP, to_y_up
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals

INFLUENCES = 8
"""Joints per vertex of a body: two sets of glTF's four. The body model has up to seven."""


@dataclass(frozen=True, slots=True, eq=False)
class Reweighted:
    """Vertices that are skinned otherwise than the skeleton says.

    Args:
        vertices: (K,) their indices.
        vertex_joints, vertex_weights: (K, I) as in `Skeleton`.
    """

    vertices: IntArray
    vertex_joints: ByteArray
    vertex_weights: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """Joints and skinning weights of the body; the same in every frame.

    Args:
        names: J names.
        parents: (J,) index of each joint's parent, −1 for the root; parents precede children.
        vertex_joints: (V, I) joints that influence each vertex; I is a multiple of 4.
        vertex_weights: (V, I) skinning weights, each row sums to 1.
        face: its blend shapes; None if they are not known.
    """

    names: tuple[str, ...]
    parents: IntArray
    vertex_joints: ByteArray
    vertex_weights: FloatArray
    face: FaceShapes | None = None

    def reweighted(self, change: Reweighted) -> Self:
        """The same joints, with other weights of some vertices."""
        joints, weights = self.vertex_joints.copy(), self.vertex_weights.copy()
        joints[change.vertices], weights[change.vertices] = change.vertex_joints, change.vertex_weights
        return replace(self, vertex_joints=joints, vertex_weights=weights)


@dataclass(frozen=True, slots=True)
class PosedBody:
    """The skinned body of one frame, in camera space.

    Args:
        mesh: posed vertices, metres, with colours of their own.
        joint_positions: (J, 3) metres.
        joint_rotations: (J, 3, 3) from each joint's local frame to camera space.
        texture: of the mesh, in more detail than the colours of its vertices, or None.
        reweighted: what is not skinned as the skeleton says; None if all of it is.
        activations: (A,) of the facial actions in the mesh, 0…1; None if its face is neutral.
        unseen_limbs: limbs whose pose is invented (`common.frames.unseen_limbs`).
    """

    mesh: SurfaceMesh
    joint_positions: FloatArray
    joint_rotations: FloatArray
    texture: MeshTexture | None = None
    reweighted: Reweighted | None = None
    activations: FloatArray | None = None
    unseen_limbs: Set[str] = frozenset()


def skeleton_from_dense(
    names: tuple[str, ...], parents: IntArray, weights: FloatArray, influences: int = INFLUENCES
) -> Skeleton:
    """Keeps the largest of the (V, J) skinning weights of each vertex, `influences` of them."""
    return Skeleton(names, parents, *largest_weights(weights, influences))


def largest_weights(weights: FloatArray, influences: int) -> tuple[ByteArray, FloatArray]:
    """Joints and weights (V, I) that are the largest of (V, J), of which each vertex has one; they sum to 1."""
    weights = np.pad(weights, ((0, 0), (0, max(0, influences - weights.shape[1]))))
    largest = np.argsort(-weights, axis=1, kind="stable")[:, :influences]
    kept = np.take_along_axis(weights, largest, axis=1)
    # The glTF validator requires joint 0 where the weight is 0.
    joints = np.where(kept > 0.0, largest, 0).astype(np.uint8)
    return joints, (kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)


def encode_body(body: PosedBody, skeleton: Skeleton) -> bytes:
    """A GLB file with one skinned mesh, y up. Raises ValueError if body and skeleton differ in joints or vertices."""
    skeleton = skeleton_of(body, skeleton)
    writer = GlbWriter()
    positions = to_y_up(body.joint_positions)
    # Of both frames, so that a joint at rest keeps the identity rotation.
    rotations = body.joint_rotations * Y_UP[:, None] * Y_UP[None, :]
    vertices, normals = to_y_up(body.mesh.vertices), None
    shapes, activations = skeleton.face, body.activations
    if shapes is not None and activations is not None:
        # Its shapes would be twice as large with normals: the neutral face has those of the expression.
        normals = vertex_normals(vertices, body.mesh.faces)
        offsets = shapes.turned(rotations, skeleton.vertex_joints, skeleton.vertex_weights)
        vertices[shapes.vertices] -= shapes.moved(activations, offsets)
    mesh = SurfaceMesh(vertices, body.mesh.faces, body.mesh.colours)
    primitive = add_skinned_triangles(writer, mesh, body.texture, skeleton, normals)
    described: Node = {"name": "body", "primitives": [primitive]}
    if shapes is not None and activations is not None:
        corners = None if body.texture is None else body.texture.corners
        shapes.add_targets(writer, described, corners, POSITION=offsets)
        described["weights"] = rounded_weights(activations)
    joints = joint_nodes(skeleton, *relative_to_parents(skeleton, positions, rotations), first=1)
    return writer.to_bytes(
        {
            "scenes": [{"nodes": [0, 1]}],
            "nodes": [body_node("body", body.unseen_limbs), *joints],
            "meshes": [described],
            "skins": [add_skin(writer, "skeleton", 1, positions, rotations)],
        }
    )


def body_node(name: str, unseen_limbs: Set[str], number: int = 0) -> Node:
    """The node of the mesh and skin of a number, which says which limbs no camera has seen if there are any."""
    seen: Node = {"extras": {"seen": seen_limbs(unseen_limbs)}} if unseen_limbs else {}
    return {"mesh": number, "skin": number, "name": name, **seen}


def skeleton_of(body: PosedBody, skeleton: Skeleton) -> Skeleton:
    """A body's own skeleton. Raises ValueError as `encode_body`."""
    if len(body.joint_positions) != len(skeleton.names) or len(body.mesh.vertices) != len(skeleton.vertex_joints):
        raise ValueError("body and skeleton do not match in number of joints or vertices")
    return skeleton if body.reweighted is None else _reweighted(skeleton, body.reweighted)


def add_skinned_triangles(
    writer: GlbWriter,
    mesh: SurfaceMesh,
    texture: MeshTexture | None,
    skeleton: Skeleton,
    normals: FloatArray | None = None,
) -> Node:
    """Appends a y-up mesh with its appearance and skinning weights, four to an attribute; returns its primitive.

    Arguments as for `GlbWriter.add_triangles`.
    """
    return writer.add_triangles(
        mesh, texture, normals, dict(_weights(skeleton, None if texture is None else texture.corners))
    )


# What follows is the same in all frames of a person in one outfit.
@lru_cache(maxsize=16)
def _reweighted(skeleton: Skeleton, change: Reweighted) -> Skeleton:
    return skeleton.reweighted(change)


@lru_cache(maxsize=16)
def _weights(skeleton: Skeleton, corners: TextureCorners | None) -> list[tuple[str, npt.NDArray[Any]]]:
    """Attributes of a mesh's vertices, or of their copies at the corners of a texture, in the order of the file."""
    arrays: dict[str, npt.NDArray[Any]] = {"JOINTS": skeleton.vertex_joints, "WEIGHTS": skeleton.vertex_weights}
    if corners is not None:
        arrays = {name: values[corners.vertex] for name, values in arrays.items()}
    return [
        (f"{name}_{first // 4}", np.ascontiguousarray(values[:, first : first + 4]))
        for first in range(0, skeleton.vertex_joints.shape[1], 4)
        for name, values in arrays.items()
    ]


@lru_cache(maxsize=16)
def _children(skeleton: Skeleton) -> list[list[int]]:
    return [np.flatnonzero(skeleton.parents == joint).tolist() for joint in range(len(skeleton.names))]


def add_skin(writer: GlbWriter, name: str, root: int, positions: FloatArray, rotations: FloatArray) -> Node:
    """Appends the inverse bind matrices of joints at (J, 3) with rotations (J, 3, 3), and returns their skin; their
    nodes begin at `root`."""
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(positions), 1, 1))
    matrices[:, :3, :3] = rotations.transpose(0, 2, 1)
    matrices[:, :3, 3] = -np.einsum("jba,jb->ja", rotations, positions)
    column_major = np.ascontiguousarray(matrices.transpose(0, 2, 1))
    joints = list(range(root, root + len(positions)))
    return {"name": name, "skeleton": root, "joints": joints, "inverseBindMatrices": writer.add_array(column_major)}


def joint_nodes(
    skeleton: Skeleton,
    translations: FloatArray | Float64Array,
    quaternions: FloatArray | Float64Array,
    first: int,
) -> list[Node]:
    """One node per joint, from number `first` on, with (J, 3) and quaternions (J, 4) relative to its parent."""
    rows = zip(skeleton.names, translations.tolist(), quaternions.tolist(), _children(skeleton), strict=True)
    return [
        {"name": name, "translation": translation, "rotation": rotation}
        | ({"children": [first + child for child in children]} if children else {})
        for name, translation, rotation, children in rows
    ]


def relative_to_parents(
    skeleton: Skeleton, positions: FloatArray, rotations: FloatArray
) -> tuple[FloatArray, Float64Array]:
    """Translations (J, 3) and quaternions (J, 4) of joints at (J, 3) with rotations (J, 3, 3)."""
    parents = np.maximum(skeleton.parents, 0)
    local_rotations = np.einsum("jba,jbc->jac", rotations[parents], rotations)
    local_positions = np.einsum("jba,jb->ja", rotations[parents], positions - positions[parents])
    local_rotations[0], local_positions[0] = rotations[0], positions[0]
    # They are products of rotations: making them valid takes ten times as long.
    return local_positions, Rotation.from_matrix(local_rotations, assume_valid=True).as_quat()
