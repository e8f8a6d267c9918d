"""Binary messages: what a browser reads is what was sent."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from common.blobs import PREVIEW, TEXTURE, Blob
from common.clock import Clock
from common.frames import PersonLabels
from common.texture.face_picture import LandmarkShapes, LiveFace
from receiver.link.session import Session
from receiver.mesh.mesh_texture import TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.web.live.hub import (
    LiveHub,
    QuantisedMesh,
    Watcher,
    frame_message,
    picture_message,
    texture_coordinates_message,
    topology_message,
)
from tests.support.link.counting_codec import new_session
from tests.support.receiver.fake_reconstructor import TETRAHEDRON, tetrahedron_of


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
    face = np.random.default_rng(4).random((len(corners.vertex), 4)).astype(np.float32)
    header, payload = read(texture_coordinates_message("surface-1", corners, face))
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
    assert np.abs(numbers("face", "<u2", 3).reshape(-1, 3) / 65535 - face[:, :3]).max() < 1e-5


def test_texture_is_carried_as_it_is() -> None:
    header, payload = read(picture_message("texture", 2, b"\xff\xd8jpeg", person=5))
    assert (header["session"], header["person"], header["mime"]) == (2, 5, "image/jpeg")
    assert payload == b"\xff\xd8jpeg"


FACE = LiveFace(np.zeros((64, 64, 3), np.uint8), LandmarkShapes.load().mean)


class Published:
    """A hub whose clock advances 50 ms a frame."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.hub = LiveHub(Clock(monotonic=lambda: self.now_s))

    def begin(self, number: int) -> Session:
        session = new_session()
        self.hub.session_began(number, session)
        return session

    def frame(self, number: int, sequence: int, source: str = "clip.mp4", people: int = 1) -> None:
        self.now_s += 0.05
        person = tetrahedron_of(PersonLabels(0, 0.9, {}))
        points = np.zeros((17, 3), np.float32)
        record = FrameRecord(
            sequence, source, 0.0, 10.0, 1.0, {"total": 51}, people=(PersonRecord(0, 0.9, points, points),) * people
        )
        self.hub.frame_published(number, record, [person] * people)


@contextmanager
def watching() -> Iterator[tuple[Published, Watcher]]:
    """Somebody who watches the only session."""
    published = Published()
    published.begin(1)
    with published.hub.watcher() as watcher:
        watcher.watch(1)
        yield published, watcher


def sequences(watcher: Watcher) -> list[tuple[int, int]]:
    """Session and sequence number of all frames that wait for a watcher."""
    taken = []
    while (frame := watcher.take_frame()) is not None:
        taken.append((frame.session, frame.record.sequence))
    return taken


def test_frame_after_a_pause_is_not_shown_between_people_who_are_predicted() -> None:
    with watching() as (published, watcher):
        published.frame(1, 0)
        published.hub.people_posed(1, [], 0.03)
        published.now_s += 5.0
        assert sequences(watcher) == [(1, 0)]
        published.frame(1, 1)
        assert sequences(watcher) == []
        # Nobody is predicted any more.
        published.now_s += 0.6
        published.frame(1, 2)
        assert sequences(watcher) == [(1, 2)]


def test_frame_in_which_nobody_is_left_is_shown_at_once() -> None:
    with watching() as (published, watcher):
        published.frame(1, 0)
        published.hub.people_posed(1, [], 0.03)
        assert sequences(watcher) == [(1, 0)]
        published.frame(1, 1, people=0)
        assert sequences(watcher) == [(1, 1)]


def test_people_come_before_sessions_without_anybody() -> None:
    published = Published()
    for number in (1, 2, 3):
        published.begin(number)
    with published.hub.watcher() as watcher:
        watcher.watch(None)
        for number in (1, 2, 3):
            published.frame(number, 0, people=number == 2)
        assert sequences(watcher) == [(2, 0), (1, 0), (3, 0)]
        published.frame(1, 1, people=0)
        published.frame(2, 1, people=0)
        assert sequences(watcher) == [(2, 1), (1, 1)], "that somebody has left is shown at once"
        published.frame(1, 2, people=0)
        published.frame(2, 2, people=0)
        assert sequences(watcher) == [(1, 2), (2, 2)]


def test_slow_watcher_gets_the_newest_frame_of_each_session_that_it_chose() -> None:
    published = Published()
    for number in (1, 2):
        published.begin(number)
    watchers = (published.hub.watcher() for _ in range(3))
    with next(watchers) as everything, next(watchers) as second, next(watchers) as undecided:
        everything.watch(None)
        second.watch(2)
        for sequence in range(3):
            published.frame(1, sequence)
            published.frame(2, 10 + sequence)
        assert sequences(everything) == [(1, 2), (2, 12)]
        assert [everything.take_skipped(), everything.take_skipped()] == [4, 0]
        assert sequences(second) == [(2, 12)]
        assert sequences(undecided) == []


def test_a_face_is_kept_for_as_long_as_it_is_shown() -> None:
    published = Published()
    published.begin(1)
    for identity, came_s in ((0, 0.0), (1, 1.0), (1, 2.0)):
        published.now_s = came_s
        published.hub.face_shown(1, identity, FACE)
    published.hub.face_shown(9, 0, FACE)
    assert {identity: face.came_s for identity, face in published.hub.sessions[1].faces.items()} == {1: 2.0}


def test_nothing_of_a_deleted_session_stays_visible() -> None:
    with watching() as (published, watcher):
        published.frame(1, 0)
        published.hub.session_ended(1)
        published.hub.session_deleted(1)
        assert sequences(watcher) == [] and published.hub.sessions == {}
        watcher.watch(1)
        assert sequences(watcher) == []


def test_watcher_who_comes_late_begins_with_the_newest_frame() -> None:
    published = Published()
    published.begin(1)
    published.frame(1, 7)
    published.hub.session_ended(1)
    with published.hub.watcher() as watcher:
        watcher.watch(None)
        assert sequences(watcher) == [], "all are those that are live"
        watcher.watch(1)
        assert sequences(watcher) == [(1, 7)]
        assert json.loads(watcher.take_sessions() or "") == {
            "type": "sessions",
            "sessions": [
                {
                    "number": 1,
                    "sender": published.hub.sessions[1].link.sender,
                    "source": "clip.mp4",
                    "live": False,
                    "connected": False,
                }
            ],
        }
        assert watcher.take_sessions() is None


def test_crowds_of_many_sessions_fill_no_memory_and_leave_the_frames_of_others() -> None:
    published = Published()
    for number in range(100):
        published.begin(number)
        published.frame(number, 0, people=16 if number else 2)
        if number % 2:
            published.hub.session_ended(number)
    frames = {number: state.newest for number, state in published.hub.sessions.items() if state.newest is not None}
    assert sum(len(frame.record.people) for frame in frames.values()) <= 128
    assert {0, 98, 99} <= frames.keys()
    with published.hub.watcher() as watcher:
        watcher.watch(1)
        assert sequences(watcher) == []
        published.frame(1, 1, people=16)
        assert sequences(watcher) == [(1, 1)]


def test_the_rate_is_that_of_the_last_two_seconds() -> None:
    published = Published()
    published.begin(1)
    for sequence in range(100):
        published.frame(1, sequence)
    newest = published.hub.sessions[1].newest
    assert newest is not None and newest.fps == pytest.approx(20.0)


def test_preview_goes_with_the_next_frame() -> None:
    with watching() as (published, watcher):
        for number, kind in enumerate((TEXTURE, PREVIEW)):
            published.hub.blob_taken(1, Blob(kind, 0, b"a JPEG"))
            published.frame(1, number)
            frame = watcher.take_frame()
            assert frame is not None and frame.preview == (b"a JPEG" if number else None)
