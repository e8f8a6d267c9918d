"""Reads bodies and surfaces that the receiver has written; coordinates stay as they are, y up.

Reads the skinned bodies that `rigged_body` and `skinned_glb` write: the pose alone, or all of a body.

Coordinates stay as they are in the file: metres, y up.
"""

import json
import os
import re
import struct
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import FACIAL_ACTIONS
from common.io.files import open_regular, read_regular
from common.labels import LIMBS
from receiver.mesh.glb import BINARY_CHUNK, COMPONENT_TYPES, ELEMENT_TYPES, HEAD_BYTES, JSON_CHUNK, OWN_VERTICES, Node
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, originals, sample_jpeg
from receiver.mesh.posing import blended_transforms, joint_transforms, posed, rest_positions
from receiver.mesh.skinned_glb import Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh

_CHUNK_HEAD_BYTES = 8
_PART = re.compile(r"[a-z0-9][a-z0-9-]{0,80}\.(?:bin|jpg)")
_DTYPES = {code: np.dtype(name) for name, code in COMPONENT_TYPES.items()}
_COMPONENTS = {name: int(np.prod(shape)) for shape, name in ELEMENT_TYPES.items()}


def document_bytes(head: bytes, file_bytes: int) -> int:
    """Length of the document, from the head of a file; raises ValueError or struct.error for another or a cut file."""
    magic, version, length, text_length, kind = struct.unpack("<4sIIII", head)
    if (magic, version, kind) != (b"glTF", 2, JSON_CHUNK):
        raise ValueError("it is not binary glTF 2.0")
    if length != file_bytes or HEAD_BYTES + text_length > length:
        raise ValueError(f"it has {file_bytes} bytes instead of {length}")
    return int(text_length)


class GlbReader:
    """A whole file. A damaged one raises OSError, KeyError, IndexError, TypeError, ValueError or struct.error.

    Args:
        folder: where the files lie that a file which is not binary refers to.
    """

    def __init__(self, content: bytes, folder: Path | None = None) -> None:
        self._folder = folder
        if folder is None:
            end = HEAD_BYTES + document_bytes(content[:HEAD_BYTES], len(content))
            self.document: Node = json.loads(content[HEAD_BYTES:end])
            if struct.unpack_from("<I", content, end + 4)[0] != BINARY_CHUNK:
                raise ValueError("it has no binary chunk")
            self._buffers = [content[end + _CHUNK_HEAD_BYTES :]]
        else:
            self.document = json.loads(content)
            self._buffers = [self._part(buffer["uri"]) for buffer in self.document["buffers"]]
        self.primitive: Node = self.document["meshes"][0]["primitives"][0]
        self.attributes: dict[str, int] = self.primitive["attributes"]

    def mesh(self, *, morphed: bool = True) -> tuple[SurfaceMesh, MeshTexture | None]:
        """The y-up mesh without the copies of its vertices on seams of the texture, and the texture.

        Args:
            morphed: by the weights of its blend shapes.
        """
        vertices = self._vertices()
        if morphed and "weights" in self.document["meshes"][0]:
            vertices = self._morphed(vertices)
        faces = self.array(self.primitive["indices"]).reshape(-1, 3).astype(np.int32)
        if not len(faces) or faces.max() >= len(vertices):
            raise ValueError("its mesh has no faces, or names vertices that do not exist")
        if "TEXCOORD_0" not in self.attributes:
            return SurfaceMesh(vertices, faces, self._vertex_colours()), None
        coordinates: FloatArray = self.array(self.attributes["TEXCOORD_0"]).reshape(-1, 2)
        image = self.document["images"][0]
        jpeg = self._part(image["uri"]) if "uri" in image else self._view(image["bufferView"])
        original = originals(vertices)
        count = int(self.primitive.get("extras", {}).get(OWN_VERTICES, original.max() + 1))
        if not 0 < count <= len(vertices) or len(coordinates) != len(vertices) or original.max() >= count:
            raise ValueError("its texture is of another mesh")
        original[:count] = np.arange(count)
        colours = sample_jpeg(jpeg, coordinates[:count])
        mesh = SurfaceMesh(vertices[:count], original[faces].astype(np.int32), colours)
        return mesh, MeshTexture(TextureCorners(original, coordinates, faces), jpeg, self._unseen_share())

    def array(self, accessor: int) -> npt.NDArray[Any]:
        """The numbers of an accessor, one element after the other."""
        described = self.document["accessors"][accessor]
        view, dtype = self._view(described["bufferView"]), _DTYPES[described["componentType"]]
        stride = self.document["bufferViews"][described["bufferView"]].get("byteStride")
        if stride is None:
            return np.frombuffer(view, dtype)
        shape = described["count"], _COMPONENTS[described["type"]]
        strides = (stride, dtype.itemsize)
        return np.ndarray(shape, dtype, view, described.get("byteOffset", 0), strides).flatten()

    def _vertices(self) -> FloatArray:
        """(V, 3) of the mesh; of a quantised one, where its node puts them."""
        stored = self.array(self.attributes["POSITION"]).reshape(-1, 3)
        if stored.dtype == np.float32:
            return stored
        node = self.document["nodes"][0]
        placed = stored * np.array(node["scale"], np.float64) + np.array(node["translation"], np.float64)
        return np.asarray(placed, np.float32)

    def _morphed(self, vertices: FloatArray) -> FloatArray:
        """(V, 3) vertices moved by their sparse targets."""
        moved = vertices.copy()
        for target, weight in zip(self.primitive["targets"], self.document["meshes"][0]["weights"], strict=True):
            sparse = self.document["accessors"][target["POSITION"]].get("sparse")
            if sparse is not None and weight:
                count, places, offsets = sparse["count"], sparse["indices"], sparse["values"]
                view = self._view(places["bufferView"])
                index = np.frombuffer(view, _DTYPES[places["componentType"]], count, places.get("byteOffset", 0))
                view = self._view(offsets["bufferView"])
                offset = np.frombuffer(view, np.float32, 3 * count, offsets.get("byteOffset", 0)).reshape(-1, 3)
                moved[index] += np.float32(weight) * offset
        return moved

    def _vertex_colours(self) -> ByteArray | None:
        """(V, 3) sRGB; None without colours."""
        if "COLOR_0" not in self.attributes:
            return None
        stored = self.array(self.attributes["COLOR_0"]).reshape(-1, 3)
        linear = stored / 255 if stored.dtype == np.uint8 else np.nan_to_num(stored).clip(0, 1)
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return np.asarray(np.round(255.0 * srgb), np.uint8)

    def _unseen_share(self) -> float | None:
        """What the file says of its texture (`MeshTexture.unseen_share`); None if it says nothing, or no share."""
        share = self.document["asset"].get("extras", {}).get("unseen_share")
        return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else None

    def _view(self, number: int) -> bytes:
        view = self.document["bufferViews"][number]
        first = int(view.get("byteOffset", 0))
        return self._buffers[int(view["buffer"])][first : first + int(view["byteLength"])]

    def _part(self, name: str) -> bytes:
        """A file beside the document."""
        if self._folder is None or not _PART.fullmatch(name):
            raise ValueError("it refers to a file that is none of its own")
        return read_regular(self._folder / name, _MAX_BYTES)


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


_MAX_SURFACE_BYTES = 256_000_000


def read_mesh(path: Path) -> SurfaceMesh:
    """Reads a file of a triangle mesh into camera space. Raises ValueError if it is missing, a link or no such."""
    try:
        if path.suffix == ".gltf":
            mesh = read_body(path, morphed=True).mesh
        else:
            mesh = _mesh(read_regular(path, _MAX_SURFACE_BYTES), path.suffix)
    except Exception as error:  # trimesh passes on any exception of its parsers
        raise ValueError(f"cannot read a mesh from {path}: {error}") from error
    return SurfaceMesh(to_y_up(mesh.vertices), mesh.faces, mesh.colours)


def _mesh(content: bytes, suffix: str) -> SurfaceMesh:
    """The y-up mesh of a file."""
    if suffix == ".glb":
        return GlbReader(content).mesh()[0]
    # Not imported before a mesh is read: the receiver only writes them, and trimesh takes a tenth of its start.
    import trimesh

    # Without its path, trimesh opens no other file that it names.
    loaded = trimesh.load_mesh(BytesIO(content), suffix.removeprefix("."), process=False)
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError("it contains no triangle mesh")
    visual: Any = loaded.visual
    coloured = visual is not None and visual.kind == "vertex"
    colours = np.asarray(visual.vertex_colors[:, :3], np.uint8) if coloured else None
    return SurfaceMesh(loaded.vertices.astype(np.float32), loaded.faces.astype(np.int32), colours)
