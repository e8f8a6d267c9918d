"""A minimal writer of binary glTF 2.0 (GLB): one JSON chunk, one binary chunk.

trimesh exports static meshes only, but bodies need a skeleton, and viewers need vertex normals and linear colours.
Specification: Khronos glTF 2.0, sections 3.6 (accessors), 3.7 (meshes, skins) and 4 (GLB container).
"""

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, FloatArray
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals

Node = dict[str, Any]

COMPONENT_TYPES = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
"""glTF's codes of NumPy types."""
_ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
"""glTF's targets of buffer views."""
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
"""Types of the two chunks of a GLB file."""


class GlbWriter:
    """Collects arrays in the binary chunk and assembles the file."""

    def __init__(self) -> None:
        self._binary = bytearray()
        self._views: list[Node] = []
        self._accessors: list[Node] = []

    def add_array(
        self, array: npt.NDArray[Any], target: int | None = None, normalised: bool = False, bounds: bool = False
    ) -> int:
        """Appends an array of elements along the first axis, aligned to 4 bytes, and returns its accessor index."""
        view: Node = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": array.nbytes}
        if target is not None:
            view["target"] = target
        self._views.append(view)
        self._binary += np.ascontiguousarray(array).tobytes()
        self._binary += b"\0" * (-len(self._binary) % 4)
        accessor: Node = {
            "bufferView": len(self._views) - 1,
            "componentType": COMPONENT_TYPES[array.dtype.name],
            "count": len(array),
            "type": _ELEMENT_TYPES[array.shape[1:]],
        }
        if normalised:
            accessor["normalized"] = True
        if bounds:
            columns = array.reshape(len(array), -1)
            accessor |= {"min": columns.min(axis=0).tolist(), "max": columns.max(axis=0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def add_triangles(self, mesh: SurfaceMesh) -> Node:
        """Appends a y-up mesh and returns its primitive."""
        index_type = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
        attributes = {
            "POSITION": self.add_array(mesh.vertices.astype(np.float32), VERTEX_BUFFER, bounds=True),
            "NORMAL": self.add_array(vertex_normals(mesh.vertices, mesh.faces), VERTEX_BUFFER),
        }
        if mesh.colours is not None:
            attributes["COLOR_0"] = self.add_array(_linear_colours(mesh.colours), VERTEX_BUFFER, normalised=True)
        indices = self.add_array(mesh.faces.ravel().astype(index_type), _INDEX_BUFFER)
        return {"attributes": attributes, "indices": indices, "material": 0}

    def to_bytes(self, document: Node) -> bytes:
        """Encodes the file: `document` and the arrays collected so far."""
        material = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}}
        content = {
            "asset": {"version": "2.0", "generator": "Bodywire"},
            "scene": 0,
            "materials": [material],
            "buffers": [{"byteLength": len(self._binary)}],
            "bufferViews": self._views,
            "accessors": self._accessors,
            **document,
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._binary)
        return b"".join(
            (
                struct.pack("<4sII", b"glTF", 2, length),
                struct.pack("<II", len(text), JSON_CHUNK),
                text,
                struct.pack("<II", len(self._binary), BINARY_CHUNK),
                self._binary,
            )
        )


def static_mesh_glb(mesh: SurfaceMesh) -> bytes:
    """Encodes a y-up mesh as a file with a single node."""
    writer = GlbWriter()
    primitive = writer.add_triangles(mesh)
    return writer.to_bytes(
        {
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "surface"}],
            "meshes": [{"name": "surface", "primitives": [primitive]}],
        }
    )


def read_colours(content: bytes) -> ByteArray | None:
    """Reads the (V, 3) sRGB colours of the first primitive in a file from `GlbWriter`; None if it has none."""
    text_length = struct.unpack_from("<I", content, 12)[0]
    document = json.loads(content[20 : 20 + text_length])
    accessor = document["meshes"][0]["primitives"][0]["attributes"].get("COLOR_0")
    if accessor is None:
        return None
    view = document["bufferViews"][document["accessors"][accessor]["bufferView"]]
    start = 20 + text_length + 8 + view["byteOffset"]
    linear = np.frombuffer(content[start : start + view["byteLength"]], np.uint16).reshape(-1, 4)[:, :3] / 65535.0
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255.0 * srgb).astype(np.uint8)


def _linear_colours(colours: ByteArray) -> npt.NDArray[np.uint16]:
    """(V, 3) sRGB → (V, 4) linear RGBA, as glTF requires; 16 bits preserve dark tones."""
    srgb: FloatArray = np.arange(256, dtype=np.float32) / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    table = np.round(linear * 65535.0).astype(np.uint16)
    return np.concatenate([table[colours], np.full((len(colours), 1), 65535, np.uint16)], axis=1)
