"""The codec's state after a frame, and its form as bytes (`FrameCodec.snapshot`).

    sequence · time · width · height · focal length · seal · size of the source (fixed) │ source │ people │ each person

A person is its identity and every field of `PersonState`, as 64-bit integers whose bytes are sorted by significance:
most of the upper ones are zero and compress away.
"""

import dataclasses
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from common.arrays import IntArray
from common.codec.person import PersonState, check_person
from common.errors import MalformedPacket
from common.frames import IDENTITIES, MAX_PEOPLE, Camera, LabelFrame, check_header

_HEAD: Final = struct.Struct("<qqIIdIH")
_INTEGER_BYTES: Final = 8


@dataclass(frozen=True)
class FrameState:
    """A frame that later ones can be predicted from; encoder and decoder have equal states and seals."""

    sequence: int
    time_ms: int
    camera: Camera
    source: str
    people: Mapping[int, PersonState]
    seal: int = 0


def encode_state(state: FrameState) -> bytes:
    """The state as bytes; `decode_state` of the same codec version restores it exactly."""
    camera, source = state.camera, state.source.encode()
    head = _HEAD.pack(
        state.sequence, state.time_ms, camera.width, camera.height, camera.focal_px, state.seal, len(source)
    )
    people = b"".join(bytes([identity]) + _encode_person(person) for identity, person in state.people.items())
    return head + source + bytes([len(state.people)]) + people


def decode_state(data: bytes, template: PersonState) -> FrameState:
    """The inverse of `encode_state`, for untrusted bytes.

    Args:
        template: any person's state, for the shapes of its fields.

    Raises:
        MalformedPacket: the bytes are not a state, or their content is out of range.
    """
    try:
        sequence, time_ms, width, height, focal_px, seal, source_bytes = _HEAD.unpack_from(data)
        start = _HEAD.size + source_bytes
        source, count = data[_HEAD.size : start].decode(), data[start]
        frame = LabelFrame(sequence, source, time_ms / 1000, Camera(width, height, focal_px), ())
        check_header(frame)
        people = _decode_people(data[start + 1 :], count, template)
    except (struct.error, IndexError, ValueError) as error:
        raise MalformedPacket("a state of the codec is damaged or of another version") from error
    return FrameState(sequence, time_ms, frame.camera, source, people, seal)


def _decode_people(data: bytes, count: int, template: PersonState) -> dict[int, PersonState]:
    """Raises ValueError for another size than that of so many people, or a field that is out of range."""
    size = 1 + _INTEGER_BYTES * _flat(template).size
    if len(data) != count * size or count > MAX_PEOPLE:
        raise ValueError(count)
    people = {
        data[start]: _decode_person(data[start + 1 : start + size], template) for start in range(0, len(data), size)
    }
    if len(people) != count or any(identity >= IDENTITIES for identity in people):
        raise ValueError(count)
    return people


def _flat(person: PersonState) -> IntArray:
    """All fields in one row."""
    fields = (getattr(person, field.name) for field in dataclasses.fields(person))
    return np.concatenate([np.ravel(np.asarray(value, np.int64)) for value in fields])


def _encode_person(person: PersonState) -> bytes:
    return _flat(person).astype("<i8").view(np.uint8).reshape(-1, _INTEGER_BYTES).T.tobytes()


def _decode_person(data: bytes, template: PersonState) -> PersonState:
    bytes_by_significance = np.frombuffer(data, np.uint8).reshape(_INTEGER_BYTES, -1)
    flat = np.ascontiguousarray(bytes_by_significance.T).view("<i8").ravel().astype(np.int64)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(template):
        shape = np.shape(getattr(template, field.name))
        count = int(np.prod(shape, dtype=int))
        values[field.name] = flat[:count].reshape(shape) if shape else int(flat[0])
        flat = flat[count:]
    person = PersonState(**values)
    check_person(person)
    return person
