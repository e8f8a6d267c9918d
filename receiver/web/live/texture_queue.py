"""What a browser is sent of people's textures between the frames.

A texture is as large as half a frame, and all that is in a link delays the next frame. So textures travel in parts,
whose bytes are at most a quarter of those of the frames, except while no frame is on its way. The texture of a new
person changes several times a second; a browser gets the newest one, at least two seconds after the one before.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from receiver.mesh.mesh_texture import MeshTexture
from receiver.web.live.messages import texture_coordinates_message, texture_message

PART_BYTES = 16_384
INTERVAL_S = 2.0
"""Least time between the beginnings of two textures of one person."""
_FRAME_SHARE = 4

# Session and identity of a person.
_Key = tuple[int, int]
PlacedTexture = tuple[str, MeshTexture]
"""The name of a topology, and a texture for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message: `content` begins at byte `offset` of its `size` bytes."""

    offset: int
    size: int
    content: bytes


@dataclass(slots=True)
class _Sent:
    """The texture of a person that a browser is being sent; `complete` if it has it, or an earlier one."""

    topology: str
    checksum: int
    began_s: float
    complete: bool


@dataclass(slots=True)
class _Transfer:
    """A message on its way: the texture of a person, or with None texture coordinates, of a topology."""

    message: bytes
    topology: str
    person: _Key | None
    offset: int = 0


class TextureQueue:
    """The textures that one browser has, and those that it has not been sent yet."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, PlacedTexture] = {}
        self._sent: dict[_Key, _Sent] = {}
        self._transfer: _Transfer | None = None
        self._coordinates_sent = set[str]()
        self._allowance_bytes = 0

    def forget(self) -> None:
        """The browser begins anew: it has no texture, and what it has of one that is on its way is void."""
        self._waiting.clear()
        self._sent.clear()
        self._transfer = None

    def offer(self, session: int, textures: Mapping[int, PlacedTexture]) -> None:
        """The newest textures of a session's people, by identity; who is missing has none, or has left."""
        for key in [key for key in {**self._waiting, **self._sent} if key[0] == session and key[1] not in textures]:
            self._drop(key)
        for identity, (topology, texture) in textures.items():
            key = session, identity
            sent = self._sent.get(key)
            if sent is not None and sent.topology != topology:
                self._drop(key)  # a texture of other triangles is of no use
            elif sent is not None and sent.checksum == zlib.crc32(texture.jpeg):
                self._waiting.pop(key, None)
                continue
            self._waiting[key] = topology, texture

    def has(self, session: int, identity: int) -> bool:
        """Whether the browser has a texture of a person: then it needs no colours of vertices."""
        sent = self._sent.get((session, identity))
        return sent is not None and sent.complete

    def frame_sent(self, size_bytes: int) -> None:
        """A frame was sent; parts may follow it."""
        self._allowance_bytes = min(PART_BYTES, self._allowance_bytes + size_bytes // _FRAME_SHARE)

    def next_part(self, now_s: float, *, idle: bool) -> Part | None:
        """The next part, if one may be sent at monotonic time `now_s`; `idle` if no frame is on its way."""
        if not idle and self._allowance_bytes < PART_BYTES:
            return None
        if self._transfer is None:
            self._begin(now_s)
        transfer = self._transfer
        if transfer is None:
            return None
        self._allowance_bytes = 0
        size = len(transfer.message)
        part = Part(transfer.offset, size, transfer.message[transfer.offset : transfer.offset + PART_BYTES])
        transfer.offset += len(part.content)
        if transfer.offset == size:
            self._end(transfer)
        return part

    def next_start_s(self, now_s: float) -> float | None:
        """When the next texture may begin that must not yet; None if none waits for its time."""
        starts = [start_s for key in self._waiting if (start_s := self._start_s(key)) > now_s]
        return min(starts, default=None)

    def _begin(self, now_s: float) -> None:
        key = next((key for key in self._waiting if self._start_s(key) <= now_s), None)
        if key is None:
            return
        topology, texture = self._waiting[key]
        if topology not in self._coordinates_sent:
            self._transfer = _Transfer(texture_coordinates_message(topology, texture.corners), topology, None)
            return
        del self._waiting[key]
        self._sent[key] = _Sent(topology, zlib.crc32(texture.jpeg), now_s, complete=self.has(*key))
        self._transfer = _Transfer(texture_message(*key, texture.jpeg), topology, key)

    def _end(self, transfer: _Transfer) -> None:
        self._transfer = None
        if transfer.person is None:
            self._coordinates_sent.add(transfer.topology)
        else:
            self._sent[transfer.person].complete = True

    def _drop(self, key: _Key) -> None:
        self._waiting.pop(key, None)
        self._sent.pop(key, None)
        if self._transfer is not None and self._transfer.person == key:
            self._transfer = None

    def _start_s(self, key: _Key) -> float:
        sent = self._sent.get(key)
        return 0.0 if sent is None else sent.began_s + INTERVAL_S
