"""A decoder's state as bytes (`FrameCodec.snapshot`), with which another decoder goes on where the first one is.

    number of frames │ frames │ newest groups
    frame: sequence · clock · width · height · focal length · seal · source · identities · people
    clock: time · interval · spread · steps ahead
    newest groups: sequence · people

People are rows of one fixed layout, little-endian.  Recordings compress them.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np

from common.codec.frame_state import REMEMBERED_FRAMES, FrameState, Newest, to_frame
from common.codec.packet import FrameClock, Scene
from common.codec.person import PersonState, check_person
from common.errors import MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE, MAX_PEOPLE, Camera, check_frame
from common.labels import GROUPS, LABEL_SIZE

_COUNT: Final = struct.Struct("<B")
_FRAME: Final = struct.Struct("<qqqqBIIdIBBB")
_NEWEST: Final = struct.Struct("<qB")
# The identity, and the fields of `PersonState`.
_PERSON: Final = np.dtype(
    [
        ("identity", "u1"),
        ("values", "<i4", LABEL_SIZE),
        ("velocity", "<i4", LABEL_SIZE),
        ("spread", "<i4", (3, LABEL_SIZE)),
        ("age", "u1", LABEL_SIZE),
        ("level", "i1", len(GROUPS)),
        ("confidence", "u1", len(GROUPS)),
        ("score", "u1"),
        ("updated", "<i8", len(GROUPS)),
    ]
)


def encode_snapshot(frames: Sequence[FrameState], newest: Newest) -> bytes:
    """States and newest groups as bytes; `decode_snapshot` of the same codec version restores them exactly.

    Args:
        frames: at most `REMEMBERED_FRAMES`.
        newest: of all packets up to the last frame.
    """
    parts = [_COUNT.pack(len(frames))]
    for frame in frames:
        parts += [_frame_head(frame), _encode_people(frame.people)]
    parts += [_NEWEST.pack(newest.sequence, len(newest.people)), _encode_people(newest.people)]
    return b"".join(parts)


def decode_snapshot(data: bytes) -> tuple[list[FrameState], Newest]:
    """The inverse of `encode_snapshot`, for untrusted bytes.

    Raises:
        MalformedPacket: the bytes are not a snapshot, or their content is out of range.
    """
    try:
        stream = io.BytesIO(data)
        (count,) = _fields(stream, _COUNT)
        if count > REMEMBERED_FRAMES:
            raise ValueError(count)
        frames = [_read_frame(stream) for _ in range(count)]
        sequence, known = _fields(stream, _NEWEST)
        newest = Newest(sequence, _read_people(stream, known))
        if stream.read(1) or not 0 <= sequence <= MAX_FRAME_SEQUENCE:
            raise ValueError(sequence)
        return frames, newest
    except (struct.error, ValueError) as error:
        raise MalformedPacket("a state of the codec is damaged or of another version") from error


def _frame_head(state: FrameState) -> bytes:
    clock, camera, source = state.clock, state.scene.camera, state.scene.source.encode()
    identities = state.scene.identities
    head = _FRAME.pack(
        state.sequence,
        clock.time_ms,
        clock.interval,
        clock.spread,
        clock.ahead,
        camera.width,
        camera.height,
        camera.focal_px,
        state.seal,
        len(source),
        len(identities),
        len(state.people),
    )
    return head + source + bytes(identities)


def _read_frame(stream: io.BytesIO) -> FrameState:
    """The inverse of `_frame_head` and `_encode_people`; raises struct.error or ValueError for other bytes."""
    numbers = _fields(stream, _FRAME)
    sequence, time_ms, interval, spread, ahead, width, height, focal_px, seal, source, visible, count = numbers
    if not (0 <= interval < 1 << 32 and 0 <= spread < 1 << 32):
        raise ValueError(interval)
    name = _take(stream, source).decode()
    scene = Scene(Camera(width, height, focal_px), name, tuple(_take(stream, visible)))
    known = _read_people(stream, count)
    if len(set(scene.identities)) != visible or not set(scene.identities) <= known.keys():
        raise ValueError(visible)
    state = FrameState(sequence, FrameClock(time_ms, interval, spread, ahead), scene, known, seal)
    check_frame(to_frame(state))
    return state


def _encode_people(people: Mapping[int, PersonState]) -> bytes:
    rows = np.zeros(len(people), _PERSON)
    rows["identity"] = list(people)
    for number, person in enumerate(people.values()):
        for field in fields(person):
            rows[field.name][number] = getattr(person, field.name)
    return rows.tobytes()


def _read_people(stream: io.BytesIO, count: int) -> dict[int, PersonState]:
    """The inverse of `_encode_people`; raises ValueError for other bytes."""
    if count > MAX_PEOPLE:
        raise ValueError(count)
    rows = np.frombuffer(_take(stream, count * _PERSON.itemsize), _PERSON)
    people = {int(row["identity"]): _person(row) for row in rows}
    if len(people) != count:
        raise ValueError(count)
    return people


def _person(row: np.void) -> PersonState:
    """Of a row of `_PERSON`. Raises ValueError if a field is out of range."""
    columns: dict[str, Any] = {field.name: row[field.name] for field in fields(PersonState)}
    columns = {name: column.astype(np.int64) if column.ndim else int(column) for name, column in columns.items()}
    person = PersonState(**columns)
    check_person(person)
    return person


def _fields(stream: io.BytesIO, layout: struct.Struct) -> tuple[Any, ...]:
    return layout.unpack(stream.read(layout.size))


def _take(stream: io.BytesIO, count: int) -> bytes:
    taken = stream.read(count)
    if len(taken) < count:
        raise ValueError(count)
    return taken
