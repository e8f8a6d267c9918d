"""A minimal writer and reader of binary glTF 2.0 (GLB): one JSON chunk, one binary chunk.

trimesh exports static meshes only, but bodies need a skeleton, and viewers need vertex normals and linear colours.
A texture is embedded, so that a file is complete.
Specification: Khronos glTF 2.0, sections 3.6 (accessors), 3.7 (meshes, skins) and 4 (GLB container).
"""

import json
import struct
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, FloatArray, IntArray
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, originals, sample_jpeg
from receiver.mesh.triangle_mesh import SameArray, SurfaceMesh, vertex_normals

Node = dict[str, Any]

COMPONENT_TYPES = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
"""glTF's codes of NumPy types."""
_ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
"""glTF's targets of buffer views."""
_LINEAR, _LINEAR_MIPMAP, _CLAMP = 9729, 9987, 33071
_INVENTED = (
    "The face has drawn eyes, brows and lips where the camera did not show them: they are no likeness."
    " Parts of the body that no camera has seen have estimated colours."
)
"""What the colours of files say about themselves."""
_SHARE_DIGITS = 4
_OWN_VERTICES = "own_vertices"
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
"""Types of the two chunks of a GLB file."""

HEAD_BYTES = 20
"""Of a file, before its document."""
_CHUNK_HEAD_BYTES = 8
_SHORT = 65_535
_DTYPES = {code: np.dtype(name) for name, code in COMPONENT_TYPES.items()}


def _linear_levels() -> FloatArray:
    srgb = np.arange(256) / 255.0
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


LINEAR = _linear_levels()
"""(256,) linear light, 0…1, of the sRGB levels."""


class GlbWriter:
    """Collects arrays in the binary chunk and assembles the file."""

    def __init__(self) -> None:
        self._binary: list[bytes | memoryview] = []
        self._size_bytes = 0
        self._views: list[Node] = []
        self._accessors: list[Node] = []
        self._images: list[Node] = []
        self._materials: list[Node] = []
        self._coloured = False
        self._unseen_shares: list[float] = []

    def add_array(self, array: npt.NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """Appends an array of elements along the first axis, aligned to 4 bytes, and returns its accessor index."""
        accessor: Node = {
            "bufferView": self._add_view(np.ascontiguousarray(array).data, target),
            "componentType": COMPONENT_TYPES[array.dtype.name],
            "count": len(array),
            "type": _ELEMENT_TYPES[array.shape[1:]],
        }
        if bounds:
            columns = np.ascontiguousarray(array.reshape(len(array), -1).T)
            accessor |= {"min": columns.min(axis=1).tolist(), "max": columns.max(axis=1).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def count(self, accessor: int) -> int:
        """The number of elements of an accessor."""
        return int(self._accessors[accessor]["count"])

    def add_sparse(self, count: int, arrays: int, array: IntArray, element: IntArray, values: FloatArray) -> list[int]:
        """Appends arrays of `count` vectors, most of which are zero, and returns their accessor indices.

        Args:
            array: (K,) the array of each vector that is not zero, ascending.
            element: (K,) its place there, ascending in each array.
            values: (K, 3) float32.
        """
        index_type = np.dtype(np.uint16 if count <= _SHORT else np.uint32)
        index_view = self._add_view(element.astype(index_type).data, None)
        value_view = self._add_view(np.ascontiguousarray(values, np.float32).data, None)
        starts = np.searchsorted(array, np.arange(arrays + 1)).tolist()
        columns, first = np.ascontiguousarray(values.T), len(self._accessors)
        for start, end in pairwise(starts):
            accessor: Node = {"componentType": COMPONENT_TYPES["float32"], "count": count, "type": "VEC3"}
            # All others are zero, which counts for the bounds.
            accessor["min"] = columns[:, start:end].min(axis=1, initial=0).tolist()
            accessor["max"] = columns[:, start:end].max(axis=1, initial=0).tolist()
            if end > start:
                indices = {"bufferView": index_view, "byteOffset": start * index_type.itemsize}
                indices["componentType"] = COMPONENT_TYPES[index_type.name]
                vectors = {"bufferView": value_view, "byteOffset": 12 * start}
                accessor["sparse"] = {"count": end - start, "indices": indices, "values": vectors}
            self._accessors.append(accessor)
        return list(range(first, first + arrays))

    def add_triangles(
        self, mesh: SurfaceMesh, texture: MeshTexture | None = None, normals: FloatArray | None = None
    ) -> Node:
        """Appends a y-up mesh with its colours, or with a texture in their place, and returns its primitive.

        With a texture, the primitive's vertices are those of the mesh in the order of the texture's corners.

        Args:
            normals: (V, 3) others than those of the mesh.
        """
        vertices, faces = mesh.vertices, mesh.faces
        normals = vertex_normals(vertices, faces) if normals is None else normals
        if texture is not None:
            copied, faces = texture.corners.vertex[len(vertices) :], texture.corners.faces
            vertices, normals = (np.concatenate([each, each[copied]]) for each in (vertices, normals))
        attributes = {
            "POSITION": self.add_array(np.asarray(vertices, np.float32), VERTEX_BUFFER, bounds=True),
            "NORMAL": self.add_array(normals, VERTEX_BUFFER),
        }
        image = None
        if texture is not None:
            coordinates = np.asarray(texture.corners.coordinates, np.float32)
            attributes["TEXCOORD_0"] = self.add_array(coordinates, VERTEX_BUFFER)
            image = self._add_image(texture)
        elif mesh.colours is not None:
            self._coloured = True
            attributes["COLOR_0"] = self.add_array(_linear(SameArray(mesh.colours)), VERTEX_BUFFER)
        primitive: Node = {
            "attributes": attributes,
            "indices": self.add_array(_indices(SameArray(faces), len(vertices)), _INDEX_BUFFER),
        }
        if texture is not None:
            # Copies on seams follow; by their places alone they cannot be told where the mesh has two vertices at one.
            primitive["extras"] = {_OWN_VERTICES: len(mesh.vertices)}
        # trimesh drops the colours of vertices beside a material, and reads those of 16 bits as if they had 8.
        return primitive if "COLOR_0" in attributes else primitive | {"material": self._material(image)}

    def _add_image(self, texture: MeshTexture) -> int:
        self._coloured = True
        if texture.unseen_share is not None:
            self._unseen_shares.append(texture.unseen_share)
        self._images.append({"bufferView": self._add_view(texture.jpeg, None), "mimeType": "image/jpeg"})
        return len(self._images) - 1

    def _material(self, texture: int | None = None) -> int:
        """The index of the matt material, with or without a texture."""
        surface: Node = {"metallicFactor": 0.0, "roughnessFactor": 0.9}
        if texture is not None:
            surface["baseColorTexture"] = {"index": texture}
        material = {"pbrMetallicRoughness": surface}
        if material not in self._materials:
            self._materials.append(material)
        return self._materials.index(material)

    def _add_view(self, content: bytes | memoryview, target: int | None) -> int:
        """Appends content to the binary chunk, aligned to 4 bytes, and returns the index of its buffer view."""
        size_bytes = memoryview(content).nbytes
        view: Node = {"buffer": 0, "byteOffset": self._size_bytes, "byteLength": size_bytes}
        if target is not None:
            view["target"] = target
        self._views.append(view)
        padding = -size_bytes % 4
        self._binary += [content, b"\0" * padding]
        self._size_bytes += size_bytes + padding
        return len(self._views) - 1

    def _extras(self) -> Node:
        """What is invented in the file; of several textures, the largest share counts."""
        if not self._coloured:
            return {}
        extras: Node = {"invented": _INVENTED}
        if self._unseen_shares:
            extras["unseen_share"] = round(max(self._unseen_shares), _SHARE_DIGITS)
        return {"extras": extras}

    def to_bytes(self, document: Node) -> bytes:
        """Encodes the file: `document` and the arrays collected so far."""
        images: Node = {}
        if self._images:
            sampler = {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP, "wrapS": _CLAMP, "wrapT": _CLAMP}
            textures = [{"sampler": 0, "source": number} for number in range(len(self._images))]
            images = {"images": self._images, "samplers": [sampler], "textures": textures}
        content = {
            "asset": {"version": "2.0", "generator": "Bodywire", **self._extras()},
            "scene": 0,
            **({"materials": self._materials} if self._materials else {}),
            **images,
            "buffers": [{"byteLength": self._size_bytes}],
            "bufferViews": self._views,
            "accessors": self._accessors,
            **document,
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + self._size_bytes
        return b"".join(
            (
                struct.pack("<4sII", b"glTF", 2, length),
                struct.pack("<II", len(text), JSON_CHUNK),
                text,
                struct.pack("<II", self._size_bytes, BINARY_CHUNK),
                *self._binary,
            )
        )


# What follows is the same in many frames: their triangles, and the colours of people.
@lru_cache(maxsize=16)
def _indices(faces: SameArray, vertex_count: int) -> npt.NDArray[Any]:
    return faces.array.ravel().astype(np.uint16 if vertex_count < 65535 else np.uint32)


@lru_cache(maxsize=16)
def _linear(colours: SameArray) -> FloatArray:
    return np.asarray(LINEAR[colours.array], np.float32)


def static_mesh_glb(mesh: SurfaceMesh, texture: MeshTexture | None = None) -> bytes:
    """Encodes a y-up mesh as a file with a single node, with its colours or a texture in their place."""
    writer = GlbWriter()
    primitive = writer.add_triangles(mesh, texture)
    return writer.to_bytes(
        {
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "surface"}],
            "meshes": [{"name": "surface", "primitives": [primitive]}],
        }
    )


def document_bytes(head: bytes, file_bytes: int) -> int:
    """Length of the document, from the head of a file; raises ValueError or struct.error for another or a cut file."""
    magic, version, length, text_length, kind = struct.unpack("<4sIIII", head)
    if (magic, version, kind) != (b"glTF", 2, JSON_CHUNK):
        raise ValueError("it is not binary glTF 2.0")
    if length != file_bytes or HEAD_BYTES + text_length > length:
        raise ValueError(f"it has {file_bytes} bytes instead of {length}")
    return int(text_length)


class GlbReader:
    """A whole file; methods raise KeyError, IndexError, TypeError, ValueError or struct.error for a damaged one."""

    def __init__(self, content: bytes) -> None:
        end = HEAD_BYTES + document_bytes(content[:HEAD_BYTES], len(content))
        self.document: Node = json.loads(content[HEAD_BYTES:end])
        if struct.unpack_from("<I", content, end + 4)[0] != BINARY_CHUNK:
            raise ValueError("it has no binary chunk")
        self._binary = content[end + _CHUNK_HEAD_BYTES :]
        self.primitive: Node = self.document["meshes"][0]["primitives"][0]
        self.attributes: dict[str, int] = self.primitive["attributes"]

    def mesh(self, *, morphed: bool = True) -> tuple[SurfaceMesh, MeshTexture | None]:
        """The y-up mesh without the copies of its vertices on seams of the texture, and the texture.

        Args:
            morphed: by the weights of its blend shapes.
        """
        vertices: FloatArray = self.array(self.attributes["POSITION"]).reshape(-1, 3)
        if morphed and "weights" in self.document["meshes"][0]:
            vertices = self._morphed(vertices)
        faces = self.array(self.primitive["indices"]).reshape(-1, 3).astype(np.int32)
        if not len(faces) or faces.max() >= len(vertices):
            raise ValueError("its mesh has no faces, or names vertices that do not exist")
        if "TEXCOORD_0" not in self.attributes:
            return SurfaceMesh(vertices, faces, self._vertex_colours()), None
        coordinates: FloatArray = self.array(self.attributes["TEXCOORD_0"]).reshape(-1, 2)
        jpeg = self._view(self.document["images"][0]["bufferView"])
        original = originals(vertices)
        count = int(self.primitive.get("extras", {}).get(_OWN_VERTICES, original.max() + 1))
        if not 0 < count <= len(vertices) or len(coordinates) != len(vertices) or original.max() >= count:
            raise ValueError("its texture is of another mesh")
        original[:count] = np.arange(count)
        colours = sample_jpeg(jpeg, coordinates[:count])
        mesh = SurfaceMesh(vertices[:count], original[faces].astype(np.int32), colours)
        return mesh, MeshTexture(TextureCorners(original, coordinates, faces), jpeg, self._unseen_share())

    def array(self, accessor: int) -> npt.NDArray[Any]:
        """The numbers of an accessor of tightly packed elements, which is how `GlbWriter` packs them."""
        described = self.document["accessors"][accessor]
        return np.frombuffer(self._view(described["bufferView"]), _DTYPES[described["componentType"]])

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
        linear = np.nan_to_num(self.array(self.attributes["COLOR_0"]).reshape(-1, 3)).clip(0, 1)
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return np.asarray(np.round(255.0 * srgb), np.uint8)

    def _unseen_share(self) -> float | None:
        """What the file says of its texture (`MeshTexture.unseen_share`); None if it says nothing, or no share."""
        share = self.document["asset"].get("extras", {}).get("unseen_share")
        return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else None

    def _view(self, number: int) -> bytes:
        view = self.document["bufferViews"][number]
        first = int(view["byteOffset"])
        return self._binary[first : first + int(view["byteLength"])]
