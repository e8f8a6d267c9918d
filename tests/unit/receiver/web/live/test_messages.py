"""Binary messages: what a browser reads is what was sent."""

import json
import struct
from typing import Any

import numpy as np

from receiver.mesh.mesh_texture import TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.web.live.hub import (
    QuantisedMesh,
    frame_message,
    texture_coordinates_message,
    texture_message,
    topology_message,
)
from tests.support.receiver.fake_reconstructor import TETRAHEDRON


def read(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload of a message, as a browser reads them."""
    (length,) = struct.unpack_from("<I", message)
    assert (4 + length) % 4 == 0
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def array(payload: bytes, entry: dict[str, Any], kind: str) -> np.ndarray[Any, Any]:
    assert entry["offset"] % 4 == 0
    return np.frombuffer(payload, kind, entry["count"] * 3, entry["offset"]).reshape(-1, 3)


def test_vertices_are_within_half_a_step_of_the_mesh() -> None:
    vertices = np.random.default_rng(1).normal([0.1, -0.2, 3.0], 0.5, (500, 3)).astype(np.float32)
    colours = np.random.default_rng(2).integers(0, 256, (500, 3)).astype(np.uint8)
    faces = (np.arange(498)[:, None] + np.arange(3)).astype(np.int32)
    mesh = QuantisedMesh.from_mesh(SurfaceMesh(vertices, faces, colours), "surface")
    header, payload = read(frame_message({"type": "frame", "id": 7}, [(3, mesh, True)]))
    assert header["id"] == 7
    (person,) = header["people"]
    assert person["id"] == 3 and person["topology"] == "surface"
    decoded = np.array(person["origin"]) + np.array(person["scale"]) * array(payload, person["vertices"], "<u2")
    step = np.ptp(vertices, axis=0) / 65535
    assert np.abs(decoded - vertices).max() < step.max() / 2 + 1e-6
    topology, payload_of_faces = read(topology_message("surface", faces, 500))
    assert topology["name"] == "surface" and topology["faces"]["type"] == "u16"
    np.testing.assert_array_equal(array(payload_of_faces, topology["faces"], "<u2"), faces)
    np.testing.assert_array_equal(array(payload, person["colours"], "u1"), colours)


def test_topology_of_a_large_mesh_has_wide_indices() -> None:
    faces = np.array([[0, 1, 70_000]], np.int32)
    header, payload = read(topology_message("body", faces, 70_001, np.arange(9, dtype=np.uint8)))
    assert list(payload[header["limbs"]["offset"] :][: header["limbs"]["count"]]) == list(range(9))
    assert header["vertices"] == 70_001 and header["faces"]["type"] == "u32"
    np.testing.assert_array_equal(array(payload, header["faces"], "<u4"), faces)


def test_flat_mesh_is_quantised() -> None:
    flat = SurfaceMesh((TETRAHEDRON.vertices * [1, 1, 0]).astype(np.float32), TETRAHEDRON.faces)
    mesh = QuantisedMesh.from_mesh(flat, "surface")
    assert mesh.vertices[:, 2].tolist() == [0, 0, 0, 0]


def test_texture_coordinates_lead_from_the_topology_to_the_corners() -> None:
    faces = TETRAHEDRON.faces
    # Each triangle has its own place in the texture, so that every vertex is on a seam.
    coordinates = np.random.default_rng(3).random((len(faces), 3, 2)).astype(np.float32)
    corners = TextureCorners.from_triangles(faces, coordinates)
    header, payload = read(texture_coordinates_message("surface-1", corners))
    assert header["topology"] == "surface-1"

    def numbers(name: str, kind: str, each: int = 1) -> np.ndarray[Any, Any]:
        entry = header[name]
        assert entry["offset"] % 4 == 0 and entry.get("type", "u16") == "u16"
        return np.frombuffer(payload, kind, entry["count"] * each, entry["offset"])

    vertices = np.concatenate([np.arange(4), numbers("copies", "<u2")])
    drawn = faces.ravel().copy()
    drawn[numbers("corners", "<u2")] = numbers("corner_vertices", "<u2")
    np.testing.assert_array_equal(vertices[drawn], faces.ravel())
    decoded = numbers("coordinates", "<u2", 2).reshape(-1, 2)[drawn] / 65535
    assert np.abs(decoded - coordinates.reshape(-1, 2)).max() < 1e-5


def test_texture_is_carried_as_it_is() -> None:
    header, payload = read(texture_message(2, 5, b"\xff\xd8jpeg"))
    assert (header["session"], header["person"], header["mime"]) == (2, 5, "image/jpeg")
    assert payload == b"\xff\xd8jpeg"
