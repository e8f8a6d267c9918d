"""A decoder's state as bytes (`FrameCodec.snapshot`), with which another decoder goes on where the first one is.

    number of frames │ frames │ newest groups
    frame: sequence · time · interval · spread · width · height · focal length · seal · source · identities · people
    newest groups: sequence · people
    person: identity · distance · size │ differences

A person is coded relative to a *base*: the state of the same identity `distance` entries before, where frames and the
newest groups are the entries.  A person without one is coded relative to a template, at distance 0.  `size` is how many
bytes the largest difference has; a person equal to the base has size 0.  The differences are zigzag integers of all
fields of `PersonState`, sorted by the significance of their bytes, of which most of the upper ones compress away.
"""

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from common.arrays import IntArray
from common.codec.frame_state import REMEMBERED_FRAMES, FrameState, Newest, to_frame
from common.codec.packet import FrameClock, Scene
from common.codec.person import PersonState, check_person
from common.errors import MalformedPacket
from common.frames import IDENTITIES, MAX_FRAME_SEQUENCE, MAX_PEOPLE, Camera, check_frame
from common.labels import LABEL_SIZE

_COUNT: Final = struct.Struct("<B")
_FRAME: Final = struct.Struct("<qqqqIIdIBBB")
_NEWEST: Final = struct.Struct("<qB")
_PERSON: Final = struct.Struct("<BBB")
_INTEGER_BYTES: Final = 8
# With few frames in flight, the frame that a person was predicted from is among so many entries.
_MAX_DISTANCE: Final = 8
_MAX_EXTRAPOLATION_FRAMES: Final = 64

# Of the flat state: the first two fields of `PersonState`.
_VALUES: Final = slice(0, LABEL_SIZE)
_VELOCITY: Final = slice(LABEL_SIZE, 2 * LABEL_SIZE)


def encode_snapshot(frames: Sequence[FrameState], newest: Newest, template: PersonState) -> bytes:
    """States and newest groups as bytes; `decode_snapshot` of the same codec version restores them exactly.

    Args:
        frames: at most `REMEMBERED_FRAMES`.
        newest: of all packets up to the last frame.
        template: any person's state, the same one in `decode_snapshot`.
    """
    people = _PeopleWriter(template)
    parts = [_COUNT.pack(len(frames))]
    for frame in frames:
        parts += [_frame_head(frame), people.encode(frame.sequence, frame.people)]
    parts += [_NEWEST.pack(newest.sequence, len(newest.people)), people.encode(newest.sequence, newest.people)]
    return b"".join(parts)


def decode_snapshot(data: bytes, template: PersonState) -> tuple[list[FrameState], Newest]:
    """The inverse of `encode_snapshot`, for untrusted bytes.

    Args:
        template: the state that was the encoder's.

    Raises:
        MalformedPacket: the bytes are not a snapshot, or their content is out of range.
    """
    try:
        reader = _Reader(data, template)
        (count,) = reader.fields(_COUNT)
        if count > REMEMBERED_FRAMES:
            raise ValueError(count)
        frames = [reader.frame() for _ in range(count)]
        sequence, people = reader.fields(_NEWEST)
        newest = Newest(_sequence(sequence), reader.people(sequence, people))
        reader.finish()
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
        camera.width,
        camera.height,
        camera.focal_px,
        state.seal,
        len(source),
        len(identities),
        len(state.people),
    )
    return head + source + bytes(identities)


def _flat(person: PersonState) -> IntArray:
    """All fields in one row."""
    fields = (getattr(person, field.name) for field in dataclasses.fields(person))
    return np.concatenate([np.ravel(np.asarray(value, np.int64)) for value in fields])


def _differences(flat: IntArray, base: IntArray, frames: int) -> IntArray:
    """What distinguishes a person from one who was `base` some frames before and moves on steadily."""
    differences = flat - base
    if frames:
        change = differences[_VALUES].copy()
        differences[_VALUES] -= base[_VELOCITY] * frames
        differences[_VELOCITY] = flat[_VELOCITY] - change // frames
    return differences


def _add_differences(differences: IntArray, base: IntArray, frames: int) -> IntArray:
    """The inverse of `_differences`."""
    flat = base + differences
    if frames:
        flat[_VALUES] += base[_VELOCITY] * frames
        flat[_VELOCITY] = differences[_VELOCITY] + (flat[_VALUES] - base[_VALUES]) // frames
    return flat


def _encode_integers(integers: IntArray) -> tuple[int, bytes]:
    """The size of the largest integer in bytes, and that many bytes of each, the least significant ones first."""
    zigzag = ((integers << 1) ^ (integers >> 63)).astype("<u8")
    size = -(-int(zigzag.max()).bit_length() // 8)
    return size, zigzag.view(np.uint8).reshape(-1, _INTEGER_BYTES)[:, :size].T.tobytes()


def _decode_integers(data: bytes, count: int) -> IntArray:
    """The inverse of `_encode_integers`."""
    by_significance = np.frombuffer(data, np.uint8).reshape(-1, count)
    integer_bytes = np.zeros((count, _INTEGER_BYTES), np.uint8)
    integer_bytes[:, : len(by_significance)] = by_significance.T
    zigzag = integer_bytes.view("<u8").ravel()
    return ((zigzag >> 1) ^ -(zigzag & 1)).astype(np.int64)


def _sequence(number: int) -> int:
    if not 0 <= number <= MAX_FRAME_SEQUENCE:
        raise ValueError(number)
    return number


class _Entries:
    """The people of the entries so far, as flat states by identity."""

    def __init__(self, template: PersonState) -> None:
        self.template = _flat(template)
        self._entries: list[tuple[int, dict[int, IntArray]]] = []

    def add(self, sequence: int, people: dict[int, IntArray]) -> None:
        self._entries.append((sequence, people))

    def base(self, distance: int, sequence: int, identity: int) -> tuple[IntArray, int] | None:
        """A base, and the number of frames from it to the one with `sequence`; None if it does not exist."""
        if distance == 0:
            return self.template, 0
        if distance > len(self._entries):
            return None
        number, people = self._entries[-distance]
        flat = people.get(identity)
        return None if flat is None else (flat, min(max(sequence - number, 0), _MAX_EXTRAPOLATION_FRAMES))


class _PeopleWriter:
    """Writes the people of one entry after the other."""

    def __init__(self, template: PersonState) -> None:
        self._entries = _Entries(template)

    def encode(self, sequence: int, people: Mapping[int, PersonState]) -> bytes:
        flats = {identity: _flat(person) for identity, person in people.items()}
        data = b"".join(self._person(sequence, identity, flat) for identity, flat in flats.items())
        self._entries.add(sequence, flats)
        return data

    def _person(self, sequence: int, identity: int, flat: IntArray) -> bytes:
        """A person relative to the base with the fewest differences."""
        best: tuple[int, int, IntArray] | None = None
        for distance in range(1, _MAX_DISTANCE + 1):
            if (found := self._entries.base(distance, sequence, identity)) is None:
                continue
            base, frames = found
            if np.array_equal(flat, base):
                return _PERSON.pack(identity, distance, 0)
            differences = _differences(flat, base, frames)
            count = int(np.count_nonzero(differences))
            if best is None or count < best[0]:
                best = count, distance, differences
        _, distance, differences = best or (0, 0, flat - self._entries.template)
        size, data = _encode_integers(differences)
        # A person who moved on steadily differs from the base, which size 0 stands for.
        size, data = (size, data) if size else (1, bytes(len(flat)))
        return _PERSON.pack(identity, distance, size) + data


class _Reader:
    """Reads a snapshot from its start; every method raises struct.error or ValueError for bytes that cannot be one."""

    def __init__(self, data: bytes, template: PersonState) -> None:
        self._data, self._position, self._template = data, 0, template
        self._entries = _Entries(template)

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
        known = self.people(_sequence(sequence), people)
        if len(set(scene.identities)) != visible or not set(scene.identities) <= known.keys():
            raise ValueError(visible)
        state = FrameState(sequence, FrameClock(time_ms, interval, spread), scene, known, seal)
        check_frame(to_frame(state))
        return state

    def people(self, sequence: int, count: int) -> dict[int, PersonState]:
        if count > MAX_PEOPLE:
            raise ValueError(count)
        flats = dict(self._flat_person(sequence) for _ in range(count))
        if len(flats) != count or any(identity >= IDENTITIES for identity in flats):
            raise ValueError(count)
        people = {identity: self._person(flat) for identity, flat in flats.items()}
        self._entries.add(sequence, flats)
        return people

    def _flat_person(self, sequence: int) -> tuple[int, IntArray]:
        identity, distance, size = self.fields(_PERSON)
        found = self._entries.base(distance, sequence, identity)
        if found is None or size > _INTEGER_BYTES:
            raise ValueError(distance)
        base, frames = found
        if size == 0:
            return identity, base
        return identity, _add_differences(_decode_integers(self.take(size * base.size), base.size), base, frames)

    def _person(self, flat: IntArray) -> PersonState:
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self._template):
            shape = np.shape(getattr(self._template, field.name))
            count = int(np.prod(shape, dtype=int))
            values[field.name] = flat[:count].reshape(shape) if shape else int(flat[0])
            flat = flat[count:]
        person = PersonState(**values)
        check_person(person)
        return person
