"""A minimal writer of glTF 2.0: one binary file (GLB), or a document and files that other documents may refer to.

trimesh exports static meshes only, but bodies need a skeleton, and viewers need vertex normals and linear colours.
Arrays belong to a part of the file by what changes them; in a GLB file the parts follow each other.
Specification: Khronos glTF 2.0, sections 3.6 (accessors), 3.7 (meshes, skins) and 4 (GLB container), and the extension
KHR_mesh_quantization.
"""

import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, FloatArray, IntArray
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.triangle_mesh import SameArray, SurfaceMesh, normal_components, vertex_normals

Node = dict[str, Any]

COMPONENT_TYPES = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121, "int8": 5120}
"""glTF's codes of NumPy types."""
ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
"""glTF's names of the shapes of elements."""
VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
"""glTF's targets of buffer views."""
SHAPE, COLOURS, SKIN, FACE, TEXTURE = "shape", "colours", "skin", "face", "texture"
"""Parts of a body: what a person's figure and clothes change, colours of vertices, what is the same for all (triangles,
texture coordinates, skinning weights), blend shapes, and the picture."""
_CLAMP = 33071
_INVENTED = "Drawn eyes, brows and lips are no likeness; colours that no camera has seen are estimated."
"""What the colours of files say about themselves."""
_SHARE_DIGITS = 4
OWN_VERTICES = "own_vertices"
"""Key in the extras of a textured primitive: vertices that are no copies."""
_EXTENSIONS = ["KHR_mesh_quantization"]
_QUANTISED = np.dtype([("POSITION", np.uint16, 3), ("NORMAL", np.int8, 3), ("COLOR_0", np.uint8, 3)])
"""A vertex of a quantised mesh."""
_LEAST_STEP_M = 1e-9
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
"""Types of the two chunks of a GLB file."""

HEAD_BYTES = 20
"""Of a file, before its document."""
_SHORT = 65_535


def _linear_light() -> FloatArray:
    srgb = np.arange(256) / 255.0
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


LINEAR = _linear_light()
"""(256,) linear light, 0…1, of the sRGB levels."""


def part_name(part: str, content: bytes, ending: str = "bin") -> str:
    """What the file of a part is called: by its content, so that it is written once and never changed."""
    return f"{part}-{blake2b(content, digest_size=8).hexdigest()}.{ending}"


class GlbWriter:
    """Collects arrays and assembles the file.

    Args:
        compact: normals and colours of triangles have a byte a component, and the document is short: attributes of one
            part share a buffer view.
    """

    def __init__(self, *, compact: bool = False) -> None:
        self._compact = compact
        self._parts: dict[str, list[bytes | memoryview]] = {}
        self._sizes_bytes: dict[str, int] = {}
        self._views: list[Node] = []
        self._accessors: list[Node] = []
        self._images: list[bytes] = []
        self._materials: list[Node] = []
        self._quantised = False
        self._coloured = False
        self._unseen_shares: list[float] = []

    def add_array(
        self, array: npt.NDArray[Any], target: int | None = None, bounds: bool = False, part: str = SHAPE
    ) -> int:
        """Appends an array of elements along the first axis, aligned to 4 bytes, and returns its accessor index."""
        columns = np.ascontiguousarray(array.reshape(len(array), -1).T) if bounds else None
        return self._add_accessor(self._add_view(np.ascontiguousarray(array).data, target, part), array, columns)

    def _add_accessor(
        self, view: int, array: npt.NDArray[Any], columns: npt.NDArray[Any] | None = None, **properties: int
    ) -> int:
        """Describes an array; `columns` of which the file has the bounds."""
        accessor: Node = {
            "bufferView": view,
            "componentType": COMPONENT_TYPES[array.dtype.name],
            "count": len(array),
            "type": ELEMENT_TYPES[array.shape[1:]],
            **properties,
        }
        if columns is not None:
            accessor |= {"min": _shortest(columns.min(axis=1)), "max": _shortest(columns.max(axis=1))}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def add_quantised(self, mesh: SurfaceMesh) -> tuple[Node, Node]:
        """Appends a y-up mesh in half of the room; returns its primitive, and what places it as properties of its node.

        Positions are whole steps of a 65,535th of the mesh's greatest extent, 0.03 mm for a person. The twelve bytes of
        a vertex are seen through a buffer view for each attribute, because offsets within one are multiples of 4.

        Raises:
            ValueError: a vertex is not finite.
        """
        columns = np.ascontiguousarray(mesh.vertices.T)
        lowest = columns.min(axis=1)
        step_m = max(float((columns.max(axis=1) - lowest).max()) / _SHORT, _LEAST_STEP_M)
        if not np.isfinite(step_m):
            raise ValueError("a mesh with vertices that are not finite cannot be written")
        vertices = np.zeros(len(mesh.vertices), _QUANTISED)
        steps = np.rint((columns - lowest[:, None]) * np.float32(1 / step_m)).astype(np.uint16)
        # NumPy takes several times as long along short last axes.
        for axis, normals in enumerate(normal_components(mesh.vertices, mesh.faces)):
            vertices["POSITION"][:, axis] = steps[axis]
            vertices["NORMAL"][:, axis] = np.rint(127 * normals)
        if mesh.colours is not None:
            vertices["COLOR_0"] = _linear_levels(SameArray(mesh.colours))
        # The view of the last attribute ends in the indices, which follow.
        start, attributes = self._append(vertices.view(np.uint8).data, SHAPE), {}
        for name, field in (_QUANTISED.fields or {}).items():
            if name != "COLOR_0" or mesh.colours is not None:
                view = self._describe_view(SHAPE, start + field[1], vertices.nbytes, VERTEX_BUFFER, vertices.itemsize)
                whole = name == "POSITION"
                properties = {} if whole else {"normalized": True}
                attributes[name] = self._add_accessor(view, vertices[name], steps if whole else None, **properties)
        self._coloured, self._quantised = self._coloured or mesh.colours is not None, True
        indices = self.add_array(_indices(SameArray(mesh.faces), len(vertices)), _INDEX_BUFFER)
        return {"attributes": attributes, "indices": indices}, {"translation": lowest.tolist(), "scale": [step_m] * 3}

    def _add_attributes(self, attributes: Mapping[str, npt.NDArray[Any]], part: str) -> dict[str, int]:
        """Appends attributes of the same vertices, each with a multiple of 4 bytes a vertex."""
        if not self._compact or not attributes:
            return {name: self.add_array(array, VERTEX_BUFFER, part=part) for name, array in attributes.items()}
        kind = np.dtype([(name, array.dtype, array.shape[1:]) for name, array in attributes.items()])
        vertices = np.empty(len(next(iter(attributes.values()))), kind)
        for name, array in attributes.items():
            vertices[name] = array
        start = self._append(vertices.view(np.uint8).data, part)
        view = self._describe_view(part, start, vertices.nbytes, VERTEX_BUFFER, kind.itemsize)
        # The first is at 0, which goes without saying.
        starts = {name: {"byteOffset": field[1]} if field[1] else {} for name, field in (kind.fields or {}).items()}
        return {name: self._add_accessor(view, array, None, **starts[name]) for name, array in attributes.items()}

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
        index_view = self._add_view(element.astype(index_type).data, None, FACE)
        value_view = self._add_view(np.ascontiguousarray(values, np.float32).data, None, FACE)
        starts = np.searchsorted(array, np.arange(arrays + 1)).tolist()
        columns, first = np.ascontiguousarray(values.T), len(self._accessors)
        for start, end in itertools.pairwise(starts):
            accessor: Node = {"componentType": COMPONENT_TYPES["float32"], "count": count, "type": "VEC3"}
            # All others are zero, which counts for the bounds.
            accessor["min"] = _shortest(columns[:, start:end].min(axis=1, initial=0))
            accessor["max"] = _shortest(columns[:, start:end].max(axis=1, initial=0))
            if end > start:
                indices = {"bufferView": index_view, "byteOffset": start * index_type.itemsize}
                indices["componentType"] = COMPONENT_TYPES[index_type.name]
                vectors = {"bufferView": value_view, "byteOffset": 12 * start}
                accessor["sparse"] = {"count": end - start, "indices": indices, "values": vectors}
            self._accessors.append(accessor)
        return list(range(first, first + arrays))

    def add_vertices(
        self, mesh: SurfaceMesh, texture: MeshTexture | None = None, normals: FloatArray | None = None
    ) -> dict[str, int]:
        """Appends positions and normals; arguments as for `add_triangles`. Returns the attributes of a primitive."""
        vertices, faces = mesh.vertices, mesh.faces
        normals = vertex_normals(vertices, faces) if normals is None else normals
        if texture is not None:
            copied = texture.corners.vertex[len(vertices) :]
            vertices, normals = (np.concatenate([each, each[copied]]) for each in (vertices, normals))
        self._quantised = self._quantised or self._compact
        return {
            "POSITION": self.add_array(np.asarray(vertices, np.float32), VERTEX_BUFFER, bounds=True),
            "NORMAL": self._add_bytes(np.rint(127 * normals), np.int8, SHAPE)
            if self._compact
            else self.add_array(normals, VERTEX_BUFFER),
        }

    def add_triangles(
        self,
        mesh: SurfaceMesh,
        texture: MeshTexture | None = None,
        normals: FloatArray | None = None,
        skin: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
    ) -> Node:
        """Appends a y-up mesh with its colours, or with a texture in their place, and returns its primitive.

        With a texture, the primitive's vertices are those of the mesh in the order of the texture's corners.

        Args:
            normals: (V, 3) others than those of the mesh.
            skin: further attributes of the primitive's vertices, by name.
        """
        attributes, faces = self.add_vertices(mesh, texture, normals), mesh.faces
        image = None
        if texture is not None:
            faces = texture.corners.faces
            skin = {"TEXCOORD_0": np.asarray(texture.corners.coordinates, np.float32), **skin}
            image = self._add_image(texture)
        elif mesh.colours is not None:
            self._coloured, colours = True, SameArray(mesh.colours)
            attributes["COLOR_0"] = (
                self._add_bytes(_linear_levels(colours), np.uint8, COLOURS)
                if self._compact
                else self.add_array(_linear(colours), VERTEX_BUFFER, part=COLOURS)
            )
        primitive: Node = {
            "attributes": attributes | self._add_attributes(skin, SKIN),
            "indices": self.add_array(
                _indices(SameArray(faces), self.count(attributes["POSITION"])), _INDEX_BUFFER, part=SKIN
            ),
        }
        if texture is not None:
            # Copies on seams follow; by their places alone they cannot be told where the mesh has two vertices at one.
            primitive["extras"] = {OWN_VERTICES: len(mesh.vertices)}
        # trimesh drops the colours of vertices beside a material, and reads those of 16 bits as if they had 8.
        return primitive if "COLOR_0" in attributes else primitive | {"material": self._material(image)}

    def _add_bytes(self, vectors: npt.NDArray[Any], dtype: npt.DTypeLike, part: str) -> int:
        """Appends vectors (V, 3) of shares of the largest byte, each in four bytes."""
        padded = np.zeros((len(vectors), 4), dtype)
        padded[:, :3] = vectors
        view = self._describe_view(part, self._append(padded.data, part), padded.nbytes, VERTEX_BUFFER, 4)
        return self._add_accessor(view, padded[:, :3], normalized=True)

    def _add_image(self, texture: MeshTexture) -> int:
        self._coloured = True
        if texture.unseen_share is not None:
            self._unseen_shares.append(texture.unseen_share)
        self._images.append(texture.jpeg)
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

    def _add_view(self, content: bytes | memoryview, target: int | None, part: str) -> int:
        """Appends content to a part and returns the index of its buffer view."""
        return self._describe_view(part, self._append(content, part), memoryview(content).nbytes, target)

    def _append(self, content: bytes | memoryview, part: str) -> int:
        """Appends content to a part, aligned to 4 bytes, and returns where it begins there."""
        start, size_bytes = self._sizes_bytes.get(part, 0), memoryview(content).nbytes
        padding = -size_bytes % 4
        self._parts.setdefault(part, []).extend((content, b"\0" * padding))
        self._sizes_bytes[part] = start + size_bytes + padding
        return start

    def _describe_view(
        self, part: str, start: int, size_bytes: int, target: int | None, stride_bytes: int | None = None
    ) -> int:
        # Readers know without `target` what accessors use a view.
        properties = {"target": None if self._compact else target, "byteStride": stride_bytes}
        view: Node = {"buffer": part, "byteOffset": start, "byteLength": size_bytes}
        self._views.append(view | {name: value for name, value in properties.items() if value is not None})
        return len(self._views) - 1

    def to_bytes(self, document: Node) -> bytes:
        """Encodes a file: `document` and the arrays and pictures collected so far."""
        pictures = [self._add_view(jpeg, None, TEXTURE) for jpeg in self._images]
        images = [{"bufferView": view, "mimeType": "image/jpeg"} for view in pictures]
        starts = dict(zip(self._parts, itertools.accumulate(self._sizes_bytes.values(), initial=0), strict=False))
        views = [
            {**view, "buffer": 0, "byteOffset": starts[view["buffer"]] + view["byteOffset"]} for view in self._views
        ]
        size_bytes = sum(self._sizes_bytes.values())
        text = compact_json(self._content(document, [{"byteLength": size_bytes}], views, images)).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + size_bytes
        return b"".join(
            (
                struct.pack("<4sII", b"glTF", 2, length),
                struct.pack("<II", len(text), JSON_CHUNK),
                text,
                struct.pack("<II", size_bytes, BINARY_CHUNK),
                *itertools.chain.from_iterable(self._parts.values()),
            )
        )

    def to_files(self, document: Node, prefix: str) -> tuple[Node, dict[str, bytes]]:
        """A document, and the files with the arrays and pictures that it refers to, by their names.

        Args:
            prefix: of the names.
        """
        contents = {part: b"".join(pieces) for part, pieces in self._parts.items()}
        names = {part: prefix + part_name(part, content) for part, content in contents.items()}
        buffers = [{"uri": names[part], "byteLength": len(content)} for part, content in contents.items()]
        views = [{**view, "buffer": list(names).index(view["buffer"])} for view in self._views]
        for view in views:
            if not view["byteOffset"]:
                del view["byteOffset"]
        pictures = {prefix + part_name(TEXTURE, jpeg, "jpg"): jpeg for jpeg in self._images}
        files = {names[part]: content for part, content in contents.items()} | pictures
        return self._content(document, buffers, views, [{"uri": name} for name in pictures]), files

    def _content(self, document: Node, buffers: list[Node], views: list[Node], images: list[Node]) -> Node:
        textured: Node = {}
        if images:
            sampler = {"wrapS": _CLAMP, "wrapT": _CLAMP}
            textures = [{"sampler": 0, "source": number} for number in range(len(images))]
            textured = {"images": images, "samplers": [sampler], "textures": textures}
        return {
            "asset": asset(self._coloured, self._unseen_shares),
            **({"extensionsUsed": _EXTENSIONS, "extensionsRequired": _EXTENSIONS} if self._quantised else {}),
            "scene": 0,
            **({"materials": self._materials} if self._materials else {}),
            **textured,
            "buffers": buffers,
            "bufferViews": views,
            "accessors": self._accessors,
            **document,
        }


def asset(coloured: bool, unseen_shares: Sequence[float]) -> Node:
    """What a file says of itself, and of what is invented in its colours; of several textures, the worst counts."""
    described: Node = {"version": "2.0", "generator": "Bodywire"}
    if coloured:
        described["extras"] = {"invented": _INVENTED}
        if unseen_shares:
            described["extras"]["unseen_share"] = round(max(unseen_shares), _SHARE_DIGITS)
    return described


def _shortest(values: npt.NDArray[Any]) -> list[float]:
    """Numbers with as few digits as tell them from others of their type."""
    return [float(str(value)) for value in values] if values.dtype == np.float32 else values.tolist()


def compact_json(content: object) -> str:
    """JSON without spaces. Raises ValueError for a number that is not finite."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


# What follows is the same in many frames: their triangles, and the colours of people.
@lru_cache(maxsize=16)
def _indices(faces: SameArray, vertex_count: int) -> npt.NDArray[Any]:
    return faces.array.ravel().astype(np.uint16 if vertex_count < 65535 else np.uint32)


@lru_cache(maxsize=16)
def _linear(colours: SameArray) -> FloatArray:
    return np.asarray(LINEAR[colours.array], np.float32)


@lru_cache(maxsize=16)
def _linear_levels(colours: SameArray) -> ByteArray:
    return np.asarray(np.rint(255 * LINEAR[colours.array]), np.uint8)


def static_mesh_glb(mesh: SurfaceMesh, texture: MeshTexture | None = None, *, quantised: bool = False) -> bytes:
    """Encodes a y-up mesh as a file with a single node, with its colours or a texture in their place.

    Args:
        quantised: in half of the room; not with a texture. Raises ValueError if a vertex is not finite.
    """
    writer = GlbWriter()
    primitive, placed = writer.add_quantised(mesh) if quantised else (writer.add_triangles(mesh, texture), {})
    return writer.to_bytes(
        {
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "surface", **placed}],
            "meshes": [{"name": "surface", "primitives": [primitive]}],
        }
    )
