"""Messages of the live stream, written from the protocol's description alone: independent of the receiver's encoder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from receiver.mesh.mesh_files import read_mesh
from receiver.mesh.mesh_texture import TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh

MESH_KINDS = ("surface", "body")
BODY = "body"
"""Name of the body's topology."""
_SHORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame of an output directory.

    Args:
        record: its line of frames.jsonl.
        meshes: by kind, one mesh for each person.
    """

    record: Mapping[str, Any]
    meshes: Mapping[str, tuple[SurfaceMesh, ...]]


def read_frames(output: Path) -> list[StoredFrame]:
    """All frames of an output directory of GLB files."""
    records = [json.loads(line) for line in (output / "frames.jsonl").read_text().splitlines()]
    return [
        StoredFrame(
            record,
            {kind: tuple(read_mesh(output / person[kind]) for person in record["people"]) for kind in MESH_KINDS},
        )
        for record in records
    ]


@dataclass
class _Payload:
    """Arrays one after the other, each aligned to four bytes."""

    content: bytearray = field(default_factory=bytearray)

    def add(self, array: np.ndarray[Any, Any]) -> dict[str, int]:
        """Appends N elements; returns where they are."""
        section = {"offset": len(self.content), "count": len(array)}
        self.content += np.ascontiguousarray(array).tobytes()
        self.content += bytes(-len(self.content) % 4)
        return section

    def add_indices(self, indices: Int32Array | IntArray, count: int) -> dict[str, Any]:
        wide = count > _SHORT_MAX + 1
        return {**self.add(indices.astype("<u4" if wide else "<u2")), "type": "u32" if wide else "u16"}


def message(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Length of the header, header, payload."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(4, "little") + text + payload


def topology_message(mesh: SurfaceMesh) -> bytes:
    """The triangles that all bodies share."""
    payload = _Payload()
    faces = payload.add_indices(mesh.faces, len(mesh.vertices))
    header = {"type": "topology", "name": BODY, "vertices": len(mesh.vertices), "faces": faces}
    return message(header, bytes(payload.content))


def texture_coordinates_message(corners: TextureCorners) -> bytes:
    """Where the triangles of all bodies are in their textures."""
    payload = _Payload()
    vertices, faces = len(np.unique(corners.vertex)), corners.faces.ravel()
    replaced = np.flatnonzero(corners.vertex[faces] != faces)
    header = {
        "type": "texture_coordinates",
        "topology": BODY,
        "coordinates": payload.add(np.round(corners.coordinates * _SHORT_MAX).astype(np.uint16)),
        "copies": payload.add_indices(corners.vertex[vertices:], vertices),
        "corners": payload.add_indices(replaced, len(faces)),
        "corner_vertices": payload.add_indices(faces[replaced], len(corners.vertex)),
    }
    return message(header, bytes(payload.content))


def texture_message(session: int, person: int, jpeg: bytes) -> bytes:
    """The texture of one person."""
    return message({"type": "texture", "session": session, "person": person, "mime": "image/jpeg"}, jpeg)


def part_messages(whole: bytes, first: int, part_bytes: int = 20_000) -> list[bytes]:
    """A message in parts, numbered from `first` on."""
    return [
        message(
            {"type": "part", "id": first + number, "offset": offset, "size": len(whole)},
            whole[offset : offset + part_bytes],
        )
        for number, offset in enumerate(range(0, len(whole), part_bytes))
    ]


def frame_message(frame: StoredFrame, kind: str, identity: int, session: int, *, colours: bool) -> bytes:
    """One frame with its people.

    Args:
        identity: number of the message.
        colours: whether the colours are sent; without them the page keeps those of the person's last frame, or the
            texture.
    """
    payload = _Payload()
    people = [
        _person(person, mesh, kind, payload, colours=colours)
        for person, mesh in zip(frame.record["people"], frame.meshes[kind], strict=True)
    ]
    header = {
        "type": "frame",
        "id": identity,
        "session": session,
        "record": {**frame.record, "session": session},
        "fps": 20.0,
        "link": {
            "capacity_bps": 1_850_000.0,
            "round_trip_ms": 23.4,
            "sender_stages_ms": {"capture": 3.1, "perception": 31.5, "semantics": 2.4, "codec": 0.8},
        },
        "bits_per_second": 41_300,
        "people": people,
    }
    return message(header, bytes(payload.content))


def _person(
    person: Mapping[str, Any], mesh: SurfaceMesh, kind: str, payload: _Payload, *, colours: bool
) -> dict[str, Any]:
    origin, scale, vertices = quantised(mesh.vertices)
    header: dict[str, Any] = {
        "id": person["id"],
        "topology": BODY if kind == BODY else None,
        "origin": origin.tolist(),
        "scale": scale.tolist(),
        "vertices": payload.add(vertices),
    }
    if kind != BODY:
        header["faces"] = payload.add_indices(mesh.faces, len(mesh.vertices))
    if colours and mesh.colours is not None:
        header["colours"] = payload.add(mesh.colours)
    return header


def quantised(vertices: FloatArray) -> tuple[FloatArray, FloatArray, np.ndarray[Any, np.dtype[np.uint16]]]:
    """Origin and scale, both (3,) metres, and (V, 3) vertices in the lattice of 65,536 steps a side."""
    origin = vertices.min(axis=0)
    scale = np.maximum(vertices.max(axis=0) - origin, 1e-6) / _SHORT_MAX
    return origin, scale, np.round((vertices - origin) / scale).astype(np.uint16)


def preview_message(picture: ByteArray | bytes, width: int, height: int, session: int) -> bytes:
    """A JPEG picture of the sender's camera."""
    header = {"type": "preview", "session": session, "width": width, "height": height, "mime": "image/jpeg"}
    return message(header, bytes(picture))
