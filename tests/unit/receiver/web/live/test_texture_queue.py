"""Textures of one browser: sent once, again after a change, in parts, paced, the newest one only."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.web.live.texture_queue import INTERVAL_S, PART_BYTES, PlacedTexture, TextureQueue
from tests.support.fake_reconstructor import TETRAHEDRON

CORNERS = TextureCorners.from_triangles(TETRAHEDRON.faces, np.zeros((4, 3, 2), np.float32))
SESSION = 1


@pytest.fixture
def queue() -> TextureQueue:
    return TextureQueue()


def texture(shade: int, size_bytes: int = 100, topology: str = "body") -> PlacedTexture:
    return topology, MeshTexture(CORNERS, bytes([shade]) * size_bytes)


def taken(queue: TextureQueue, now_s: float) -> list[tuple[dict[str, Any], bytes]]:
    """Header and payload of all messages that are sent while no frame is on its way."""
    messages, content = [], b""
    while (part := queue.next_part(now_s, idle=True)) is not None:
        assert part.offset == len(content)
        content += part.content
        if len(content) == part.size:
            (length,) = struct.unpack_from("<I", content)
            messages.append((json.loads(content[4 : 4 + length]), content[4 + length :]))
            content = b""
    assert not content
    return messages


def pictures(queue: TextureQueue, now_s: float) -> list[tuple[int, int]]:
    """Person and shade of the textures that are sent."""
    return [(header["person"], payload[0]) for header, payload in taken(queue, now_s) if header["type"] == "texture"]


def test_coordinates_come_once_before_the_first_texture(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1), 4: texture(2)})
    headers = [header for header, _ in taken(queue, 0)]
    assert [header["type"] for header in headers] == ["texture_coordinates", "texture", "texture"]
    assert headers[1] == {"type": "texture", "session": SESSION, "person": 3, "mime": "image/jpeg"}
    queue.forget()
    queue.offer(SESSION, {3: texture(1)})
    assert [header["type"] for header, _ in taken(queue, 0)] == ["texture"]


def test_each_topology_has_its_coordinates(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1), 4: texture(1, topology="surface-0")})
    headers = [header for header, _ in taken(queue, 0)]
    assert [header.get("topology", "texture") for header in headers] == ["body", "texture", "surface-0", "texture"]
    queue.offer(SESSION, {3: texture(1, topology="surface-0"), 4: texture(1, topology="surface-0")})
    assert not queue.has(SESSION, 3) and queue.has(SESSION, 4), "it has the texture of other triangles"
    assert pictures(queue, 0) == [(3, 1)]


def test_texture_is_sent_once_and_again_when_it_changes(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1)})
    assert pictures(queue, 0) == [(3, 1)]
    queue.offer(SESSION, {3: texture(1)})
    assert pictures(queue, 10) == []
    queue.offer(SESSION, {3: texture(2)})
    assert pictures(queue, 10) == [(3, 2)]


def test_newest_texture_waits_for_its_time_and_replaces_older_ones(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1)})
    assert pictures(queue, 5) == [(3, 1)]
    for shade in (2, 3, 4):
        queue.offer(SESSION, {3: texture(shade)})
        assert pictures(queue, 5.5) == []
    assert queue.next_start_s(5.5) == 5 + INTERVAL_S
    assert pictures(queue, 5 + INTERVAL_S) == [(3, 4)]
    assert queue.next_start_s(5 + INTERVAL_S) is None


def test_texture_that_changes_back_is_not_sent(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1)})
    assert pictures(queue, 0) == [(3, 1)]
    queue.offer(SESSION, {3: texture(2)})
    queue.offer(SESSION, {3: texture(1)})
    assert queue.next_start_s(0) is None
    assert pictures(queue, 10) == []


def test_parts_take_a_quarter_of_the_bytes_of_frames(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1, 100_000)})
    frames, parts = 0, 0
    while not queue.has(SESSION, 3):
        queue.frame_sent(40_000)
        frames += 40_000
        if (part := queue.next_part(0, idle=False)) is not None:
            assert len(part.content) <= PART_BYTES
            parts += len(part.content)
        assert parts <= frames / 4
    assert parts > 100_000


def test_part_waits_for_a_frame_while_others_are_on_their_way(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1)})
    assert queue.next_part(0, idle=False) is None
    queue.frame_sent(4 * PART_BYTES)
    assert queue.next_part(0, idle=False) is not None
    assert queue.next_part(0, idle=False) is None


def test_person_is_known_by_the_texture_when_all_of_it_was_sent(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1, 3 * PART_BYTES)})
    while (part := queue.next_part(0, idle=True)) is not None and part.size < 3 * PART_BYTES:
        assert not queue.has(SESSION, 3)
    assert not queue.has(SESSION, 3)
    taken_rest = [queue.next_part(0, idle=True) for _ in range(3)]
    assert all(taken_rest) and queue.has(SESSION, 3)
    queue.offer(SESSION, {3: texture(2)})
    assert queue.has(SESSION, 3), "the browser keeps the texture until it has the next one"


def test_person_who_has_left_is_forgotten_also_halfway(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1), 4: texture(2, 3 * PART_BYTES), 5: texture(3)})
    while (part := queue.next_part(0, idle=True)) is not None and part.size < 3 * PART_BYTES:
        pass
    queue.offer(SESSION, {})
    assert queue.next_part(0, idle=True) is None
    assert not queue.has(SESSION, 3) and not queue.has(SESSION, 4)
    queue.offer(SESSION, {4: texture(2)})
    assert pictures(queue, 0) == [(4, 2)]


def test_people_of_other_sessions_are_kept(queue: TextureQueue) -> None:
    queue.offer(1, {3: texture(1)})
    queue.offer(2, {3: texture(2)})
    queue.offer(2, {})
    assert pictures(queue, 0) == [(3, 1)]
    assert queue.has(1, 3) and not queue.has(2, 3)


def test_browser_that_begins_anew_gets_everything_again(queue: TextureQueue) -> None:
    queue.offer(SESSION, {3: texture(1, 3 * PART_BYTES)})
    assert queue.next_part(0, idle=True) is not None
    assert queue.next_part(0, idle=True) is not None
    queue.forget()
    assert queue.next_part(0, idle=True) is None
    queue.offer(SESSION, {3: texture(1)})
    assert pictures(queue, 0) == [(3, 1)]
