"""A decoder's state as bytes (`FrameCodec.snapshot`), with which another decoder goes on where the first one is.

    newest groups │ number of frames │ frames
    newest groups: sequence · people
    frame: sequence · time · interval · spread · width · height · focal length · seal · source · identities · people

A person is its identity and every field of `PersonState`, as 64-bit integers whose bytes are sorted by significance:
most of the upper ones are zero and compress away.
"""

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from common.arrays import IntArray
from common.codec.frame_state import FrameState, Newest, to_frame
from common.codec.packet import FrameClock, Scene
from common.codec.person import PersonState, check_person
from common.errors import MalformedPacket
from common.frames import IDENTITIES, MAX_FRAME_SEQUENCE, MAX_PEOPLE, Camera, check_frame

_NEWEST: Final = struct.Struct("<qBB")
_FRAME: Final = struct.Struct("<qqqqIIdIBBB")
_INTEGER_BYTES: Final = 8


def encode_snapshot(frames: Sequence[FrameState], newest: Newest) -> bytes:
    """States and newest groups as bytes; `decode_snapshot` of the same codec version restores them exactly.

    Args:
        frames: at most 255.
        newest: of all packets up to the last frame.
    """
    head = _NEWEST.pack(newest.sequence, len(newest.people), len(frames))
    return head + _encode_people(newest.people) + b"".join(_encode_frame(frame) for frame in frames)


def decode_snapshot(data: bytes, template: PersonState) -> tuple[list[FrameState], Newest]:
    """The inverse of `encode_snapshot`, for untrusted bytes.

    Args:
        template: any person's state, for the shapes of its fields.

    Raises:
        MalformedPacket: the bytes are not a snapshot, or their content is out of range.
    """
    try:
        reader = _Reader(data, template)
        sequence, people, frames = reader.fields(_NEWEST)
        newest = Newest(_sequence(sequence), reader.people(people))
        states = [reader.frame() for _ in range(frames)]
        reader.finish()
        return states, newest
    except (struct.error, ValueError) as error:
        raise MalformedPacket("a state of the codec is damaged or of another version") from error


def _encode_frame(state: FrameState) -> bytes:
    clock, camera, source = state.clock, state.scene.camera, state.scene.source.encode()
    identities = state.scene.identities
    head = _FRAME.pack(
        state.sequence,
        clock.time_ms,
        clock.interval,
        clock.spread,
        camera.width,
        camera.height,
        camera.focal_px,
        state.seal,
        len(source),
        len(identities),
        len(state.people),
    )
    return head + source + bytes(identities) + _encode_people(state.people)


def _encode_people(people: Mapping[int, PersonState]) -> bytes:
    return b"".join(bytes([identity]) + _encode_person(person) for identity, person in people.items())


def _encode_person(person: PersonState) -> bytes:
    return _flat(person).astype("<i8").view(np.uint8).reshape(-1, _INTEGER_BYTES).T.tobytes()


def _flat(person: PersonState) -> IntArray:
    """All fields in one row."""
    fields = (getattr(person, field.name) for field in dataclasses.fields(person))
    return np.concatenate([np.ravel(np.asarray(value, np.int64)) for value in fields])


def _sequence(number: int) -> int:
    if not 0 <= number <= MAX_FRAME_SEQUENCE:
        raise ValueError(number)
    return number


class _Reader:
    """Reads a snapshot from its start; every method raises struct.error or ValueError for bytes that cannot be one."""

    def __init__(self, data: bytes, template: PersonState) -> None:
        self._data, self._position, self._template = data, 0, template
        self._person_bytes = _INTEGER_BYTES * _flat(template).size

    def take(self, count: int) -> bytes:
        taken = self._data[self._position : self._position + count]
        if len(taken) < count:
            raise ValueError(count)
        self._position += count
        return taken

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def finish(self) -> None:
        if self._position != len(self._data):
            raise ValueError(self._position)

    def frame(self) -> FrameState:
        sequence, time_ms, interval, spread, width, height, focal_px, seal, source, visible, people = self.fields(
            _FRAME
        )
        if not (0 <= interval < 1 << 32 and 0 <= spread < 1 << 32):
            raise ValueError(interval)
        name = self.take(source).decode()
        scene = Scene(Camera(width, height, focal_px), name, tuple(self.take(visible)))
        known = self.people(people)
        if len(set(scene.identities)) != visible or not set(scene.identities) <= known.keys():
            raise ValueError(visible)
        state = FrameState(_sequence(sequence), FrameClock(time_ms, interval, spread), scene, known, seal)
        check_frame(to_frame(state))
        return state

    def people(self, count: int) -> dict[int, PersonState]:
        if count > MAX_PEOPLE:
            raise ValueError(count)
        people = {self.take(1)[0]: self._person() for _ in range(count)}
        if len(people) != count or any(identity >= IDENTITIES for identity in people):
            raise ValueError(count)
        return people

    def _person(self) -> PersonState:
        by_significance = np.frombuffer(self.take(self._person_bytes), np.uint8).reshape(_INTEGER_BYTES, -1)
        flat = np.ascontiguousarray(by_significance.T).view("<i8").ravel().astype(np.int64)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self._template):
            shape = np.shape(getattr(self._template, field.name))
            count = int(np.prod(shape, dtype=int))
            values[field.name] = flat[:count].reshape(shape) if shape else int(flat[0])
            flat = flat[count:]
        person = PersonState(**values)
        check_person(person)
        return person
