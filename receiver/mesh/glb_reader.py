"""Reads binary glTF files that `GlbWriter` has written: their document, and arrays of their first primitive."""

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, FloatArray
from receiver.mesh.glb import BINARY_CHUNK, COMPONENT_TYPES, JSON_CHUNK, Node
from receiver.mesh.mesh_texture import sample_jpeg

HEAD_BYTES = 20
"""Of a file, before its document."""
_CHUNK_HEAD_BYTES = 8
_DTYPES = {code: np.dtype(name) for name, code in COMPONENT_TYPES.items()}


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

    def array(self, accessor: int) -> npt.NDArray[Any]:
        """The numbers of an accessor of tightly packed elements, which is how `GlbWriter` packs them."""
        described = self.document["accessors"][accessor]
        return np.frombuffer(self._view(described["bufferView"]), _DTYPES[described["componentType"]])

    def texture(self) -> tuple[FloatArray, bytes] | None:
        """Texture coordinates (V, 2), and the picture (JPEG); None without a texture."""
        if "TEXCOORD_0" not in self.attributes or not self.document.get("images"):
            return None
        coordinates: FloatArray = self.array(self.attributes["TEXCOORD_0"]).reshape(-1, 2)
        return coordinates, self._view(self.document["images"][0]["bufferView"])

    def colours(self) -> ByteArray | None:
        """(V, 3) sRGB colours, those of a texture at its vertices; None without colours."""
        if (texture := self.texture()) is not None:
            coordinates, jpeg = texture
            return sample_jpeg(jpeg, coordinates)
        if "COLOR_0" not in self.attributes:
            return None
        linear = self.array(self.attributes["COLOR_0"]).reshape(-1, 4)[:, :3] / 65535.0
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return np.round(255.0 * srgb).astype(np.uint8)

    def unseen_share(self) -> float | None:
        """What the file says of its texture (`MeshTexture.unseen_share`); None if it says nothing, or no share."""
        share = self.document["asset"].get("extras", {}).get("unseen_share")
        return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else None

    def _view(self, number: int) -> bytes:
        view = self.document["bufferViews"][number]
        first = int(view["byteOffset"])
        return self._binary[first : first + int(view["byteLength"])]
