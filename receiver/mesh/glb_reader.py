"""Reads the glTF 2.0 files that `receiver.mesh.glb` writes, binary or not; coordinates stay as they are, y up."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, FloatArray
from common.io.files import read_regular
from receiver.mesh.glb import BINARY_CHUNK, COMPONENT_TYPES, ELEMENT_TYPES, HEAD_BYTES, JSON_CHUNK, OWN_VERTICES, Node
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, originals, sample_jpeg
from receiver.mesh.triangle_mesh import SurfaceMesh

_CHUNK_HEAD_BYTES = 8
_MAX_PART_BYTES = 64_000_000
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
        return read_regular(self._folder / name, _MAX_PART_BYTES)
