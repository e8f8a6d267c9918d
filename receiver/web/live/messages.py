"""Binary messages of the live WebSocket: a JSON header, and arrays that a browser uses as they are.

    uint32      length L of the header, little-endian
    L bytes     header, UTF-8 JSON, padded with spaces so that the payload begins at a multiple of four
    payload     arrays, little-endian; the header gives each one's offset in the payload, a multiple of four

A vertex is three uint16 on a grid over its mesh's bounding box: position = origin + scale · number, metres in camera
space. For a person the grid's step is below 0.04 mm. Bodies have one topology, and so have surfaces: each is sent once,
before the first frame that needs it.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from receiver.mesh.mesh_texture import TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh

BODY_TOPOLOGY = "body"
"""Name of the topology that all bodies share."""

_STEPS = 65_535
_ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class QuantisedMesh:
    """A mesh as it travels.

    Args:
        origin: (3,) metres; the smallest coordinates.
        scale: (3,) metres per step.
        vertices: (V, 3) uint16.
        topology: name of the triangles.
        colours: (V, 3) uint8 RGB, or None.
    """

    origin: FloatArray
    scale: FloatArray
    vertices: np.ndarray[Any, np.dtype[np.uint16]]
    topology: str
    colours: ByteArray | None

    @classmethod
    def from_mesh(cls, mesh: SurfaceMesh, topology: str) -> "QuantisedMesh":
        """Quantises a mesh, whose faces are those of a topology with this name."""
        origin = mesh.vertices.min(axis=0)
        # A flat mesh has one step of any size.
        scale = np.maximum(mesh.vertices.max(axis=0) - origin, 1e-6) / _STEPS
        vertices = np.rint((mesh.vertices - origin) / scale).astype("<u2")
        return cls(origin, scale, vertices, topology, mesh.colours)


class Payload:
    """Arrays one behind the other; `add` returns an array's entry for the header."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: np.ndarray[Any, Any]) -> dict[str, int]:
        """Appends an array; its first axis is counted."""
        data = array.tobytes()
        entry = {"offset": self._size, "count": len(array)}
        padding = -len(data) % _ALIGNMENT
        self._parts += [data, bytes(padding)]
        self._size += len(data) + padding
        return entry

    def message(self, header: Mapping[str, Any]) -> bytes:
        """The whole message."""
        return binary_message(header, b"".join(self._parts))


def binary_message(header: Mapping[str, Any], payload: bytes) -> bytes:
    """A header and its payload."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<I", len(text)) + text + payload


def sessions_message(sessions: Sequence[Mapping[str, object]]) -> str:
    """What a browser gets about each session."""
    return json.dumps({"type": "sessions", "sessions": sessions}, separators=(",", ":"))


def topology_message(name: str, faces: Int32Array, vertex_count: int, limbs: ByteArray | None = None) -> bytes:
    """A topology that meshes have in common: (F, 3) faces over `vertex_count` vertices, and the vertices' limbs."""
    payload = Payload()
    header = {
        "type": "topology",
        "name": name,
        "vertices": vertex_count,
        "faces": _add_indices(payload, faces, vertex_count),
        **({} if limbs is None else {"limbs": payload.add(limbs)}),
    }
    return payload.message(header)


def frame_message(header: Mapping[str, Any], people: Sequence[tuple[int, QuantisedMesh, bool]]) -> bytes:
    """One frame: a header, and identity and mesh of each person, and whether their colours are sent."""
    payload = Payload()
    entries = [_person(payload, *person) for person in people]
    return payload.message({**header, "people": entries})


def texture_coordinates_message(topology: str, corners: TextureCorners) -> bytes:
    """Where the triangles of a topology are in textures, as the corners at which a vertex's copy takes its place."""
    payload = Payload()
    vertex_count = int(corners.vertex.max()) + 1
    corner_vertices = corners.faces.ravel()
    moved = np.flatnonzero(corner_vertices >= vertex_count)
    header = {
        "type": "texture_coordinates",
        "topology": topology,
        "coordinates": payload.add(np.rint(corners.coordinates.clip(0, 1) * _STEPS).astype("<u2")),
        "copies": _add_indices(payload, corners.vertex[vertex_count:], vertex_count),
        "corners": _add_indices(payload, moved, len(corner_vertices)),
        "corner_vertices": _add_indices(payload, corner_vertices[moved], len(corners.vertex)),
    }
    return payload.message(header)


def texture_message(session: int, identity: int, jpeg: bytes) -> bytes:
    """The texture of a person."""
    return binary_message({"type": "texture", "session": session, "person": identity, "mime": "image/jpeg"}, jpeg)


def preview_message(session: int, jpeg: bytes) -> bytes:
    """A picture of what the sender sees."""
    return binary_message({"type": "preview", "session": session, "mime": "image/jpeg"}, jpeg)


def _person(payload: Payload, identity: int, mesh: QuantisedMesh, with_colours: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": identity,
        "topology": mesh.topology,
        "origin": [round(float(value), 6) for value in mesh.origin],
        "scale": [float(value) for value in mesh.scale],
        "vertices": payload.add(mesh.vertices),
    }
    if with_colours and mesh.colours is not None:
        entry["colours"] = payload.add(mesh.colours)
    return entry


def _add_indices(payload: Payload, indices: Int32Array | IntArray, count: int) -> dict[str, Any]:
    """Appends indices below `count` in the smallest type that a graphics card takes."""
    kind = "u2" if count <= _STEPS else "u4"
    return {**payload.add(indices.astype(f"<{kind}")), "type": "u16" if kind == "u2" else "u32"}
