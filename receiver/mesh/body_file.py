"""Reads the skinned bodies that `rigged_body` and `skinned_glb` write: the pose alone, or all of a body.

Coordinates stay as they are in the file: metres, y up.
"""

import json
import os
import struct
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.anatomy import FACIAL_ACTIONS
from common.io.files import open_regular, read_regular
from common.labels import LIMBS
from receiver.mesh.glb import HEAD_BYTES, Node
from receiver.mesh.glb_reader import GlbReader, document_bytes
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.posing import blended_transforms, joint_transforms, posed, rest_positions
from receiver.mesh.skinned_glb import Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh

# A body has 15,000 vertices, 130 joints and a texture: 1 MB, of which the document has 40 kB.
_MAX_BYTES, _MAX_DOCUMENT_BYTES = 64_000_000, 1_000_000
_RIGGED = ".gltf"
_MAX_JOINTS, _MAX_NAME_CHARACTERS = 256, 100
_MAX_DISTANCE_M = 1e5
_NOT_MOVED, _NOT_TURNED = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
# What reading the JSON of a damaged file raises.
_DAMAGES = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError),
    struct.error,
)


@dataclass(frozen=True, slots=True)
class LocalPose:
    """A pose of a skeleton of J joints, each relative to its parent; the root is relative to the scene.

    Args:
        names: J names.
        parents: J indices, −1 for the root; parents precede children.
        translations: (J, 3) metres, y up. Those of all joints but the root are the skeleton's bone offsets.
        rotations: (J, 4) unit quaternions x, y, z, w; the identity is the rest pose.
        activations: (52,) of `FACIAL_ACTIONS`, 0…1; None if the face is neutral.
        unseen_limbs: limbs that no camera saw, as far as the file says it.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    translations: Float64Array
    rotations: Float64Array
    activations: FloatArray | None = None
    unseen_limbs: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BodyFile:
    """A whole body.

    Args:
        mesh: posed, y up, with a neutral face, without the copies of vertices on seams of the texture.
        skeleton: with the skinning weights of the file.
    """

    pose: LocalPose
    mesh: SurfaceMesh
    skeleton: Skeleton
    texture: MeshTexture | None = None


def read_pose(path: Path) -> LocalPose:
    """Reads the pose of a body; of the file, only the size and the JSON are looked at.

    Raises:
        ValueError: the file is missing, cut, or no skinned body.
    """
    try:
        if path.suffix == _RIGGED:
            return _pose(json.loads(read_regular(path, _MAX_DOCUMENT_BYTES)))
        with open_regular(path, _MAX_BYTES) as file:
            size_bytes = document_bytes(file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size)
            if size_bytes > _MAX_DOCUMENT_BYTES:
                raise ValueError(f"its document has {size_bytes} bytes")
            return _pose(json.loads(file.read(size_bytes)))
    except _DAMAGES as error:
        raise ValueError(f"cannot read a skinned body from {path}: {error}") from error


def read_body(path: Path, *, morphed: bool = False) -> BodyFile:
    """Reads a body.

    Args:
        morphed: with its expression in place of a neutral face.

    Raises:
        ValueError: the file is missing, cut, or no skinned body.
    """
    try:
        if path.suffix == _RIGGED:
            return _body(GlbReader(read_regular(path, _MAX_DOCUMENT_BYTES), path.parent), morphed=morphed, at_rest=True)
        return _body(GlbReader(read_regular(path, _MAX_BYTES)), morphed=morphed)
    except _DAMAGES as error:
        raise ValueError(f"cannot read a skinned body from {path}: {error}") from error


def parse_body(content: bytes) -> BodyFile:
    """The body of a file's content. Raises ValueError if it is no skinned body."""
    try:
        return _body(GlbReader(content))
    except _DAMAGES as error:
        raise ValueError(f"it is no skinned body: {error}") from error


def _pose(document: Node) -> LocalPose:
    joints = document["skins"][0]["joints"]
    if not 0 < len(joints) <= _MAX_JOINTS:
        raise ValueError(f"it has {len(joints)} joints")
    index = {node: joint for joint, node in enumerate(joints)}
    nodes = [document["nodes"][node] for node in joints]
    parents = [-1] * len(joints)
    for joint, node in enumerate(nodes):
        for child in node.get("children", ()):
            parents[index[child]] = joint
    if parents[0] != -1 or any(not 0 <= parents[joint] < joint for joint in range(1, len(joints))):
        raise ValueError("its parents do not precede their children")
    translations = np.array([node.get("translation", _NOT_MOVED) for node in nodes], np.float64).reshape(len(joints), 3)
    rotations = np.array([node.get("rotation", _NOT_TURNED) for node in nodes], np.float64).reshape(len(joints), 4)
    lengths = np.linalg.norm(rotations, axis=1, keepdims=True)
    if not (_near(translations) and np.isfinite(lengths).all() and (lengths > 0.5).all()):
        raise ValueError("its pose has numbers that are not finite, or too large, or no rotation")
    names = tuple(node["name"] for node in nodes)
    if not all(isinstance(name, str) and name and len(name) <= _MAX_NAME_CHARACTERS for name in names):
        raise ValueError("its joints have no names")
    activations, unseen = _activations(document["meshes"][0]), _unseen_limbs(document["nodes"])
    return LocalPose(names, tuple(parents), translations, rotations / lengths, activations, unseen)


def _unseen_limbs(nodes: Sequence[Node]) -> Set[str]:
    """The limbs of which the mesh's node says that no camera saw them."""
    seen: Node = next((node["extras"].get("seen", {}) for node in nodes if "mesh" in node and "extras" in node), {})
    return frozenset(limb for limb in LIMBS if seen.get(limb) is False)


def _activations(mesh: Node) -> FloatArray | None:
    """(52,) the weights of a mesh whose blend shapes are facial actions; 0 of those that it lacks."""
    names = mesh.get("extras", {}).get("targetNames", ())
    if not names or not {*names} <= {*FACIAL_ACTIONS}:
        return None
    weights, activations = np.array(mesh["weights"], np.float32), np.zeros(len(FACIAL_ACTIONS), np.float32)
    if weights.shape != (len(names),) or not (np.abs(weights) <= 1).all():
        raise ValueError("its face has other weights than its blend shapes, or weights that are no shares")
    activations[[FACIAL_ACTIONS.index(name) for name in names]] = weights
    return activations


def _near(points: npt.NDArray[np.floating[Any]]) -> bool:
    """Whether all coordinates are finite, and so small that animation tools can show them."""
    return bool((np.abs(points) <= _MAX_DISTANCE_M).all())


def _body(file: GlbReader, *, morphed: bool = False, at_rest: bool = False) -> BodyFile:
    pose, (mesh, texture) = _pose(file.document), file.mesh(morphed=morphed)
    count = len(mesh.vertices)
    joints, weights = (_of_vertices(file, name, count) for name in ("JOINTS", "WEIGHTS"))
    if len(joints) != count or len(weights) != count or joints.max() >= len(pose.names):
        raise ValueError("its mesh has vertices that no joint moves, or names joints that do not exist")
    if not (_near(mesh.vertices) and (weights >= 0).all() and np.isfinite(weights).all() and weights.any(axis=1).all()):
        raise ValueError("its mesh has numbers that are not finite, or too large, or vertices that no joint moves")
    parents: IntArray = np.array(pose.parents, np.int64)
    skeleton = Skeleton(pose.names, parents, joints.astype(np.uint8), weights.astype(np.float32))
    if at_rest:
        mesh = replace(mesh, vertices=_posed(mesh.vertices, pose, skeleton))
    return BodyFile(pose, mesh, skeleton, texture)


def _of_vertices(file: GlbReader, name: str, count: int) -> npt.NDArray[Any]:
    """(V, I) of all sets of an attribute that has four numbers in each, of the first `count` vertices."""
    sets = [f"{name}_{number}" for number in range(max(1, sum(key.startswith("JOINTS_") for key in file.attributes)))]
    return np.hstack([file.array(file.attributes[each]).reshape(-1, 4)[:count] for each in sets])


def _posed(vertices: FloatArray, pose: LocalPose, skeleton: Skeleton) -> FloatArray:
    parents, offsets = list(pose.parents), pose.translations.copy()
    offsets[0] = 0.0
    rotations, positions = joint_transforms(pose.rotations[None], parents, offsets)
    transforms = blended_transforms(
        skeleton, rotations[0], positions[0] + pose.translations[0], rest_positions(parents, offsets)
    )
    return np.asarray(posed(vertices, transforms), np.float32)
