"""A decoder's state as bytes (`FrameCodec.snapshot`), with which another decoder goes on where the first one is.

    number of frames │ frames │ newest groups
    frame: sequence · time · interval · spread · width · height · focal length · seal · source · identities · people
    newest groups: sequence · people
    person: identity · distance · size │ differences

A person is coded relative to a *base*: the state of the same identity `distance` entries before, where frames and the
newest groups are the entries.  What the codec predicts from an earlier base is subtracted (`_Expectation`); of a person
whose frame was predicted from the base, only the values differ much from it.  A person without a base is coded relative
to an unknown one, at distance 0.  `size` is how many bytes the largest difference has; a person equal to the base has
size 0.  The differences are zigzag integers of all fields of `PersonState`, sorted by the significance of their bytes,
of which most of the upper ones compress away.
"""

import dataclasses
import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from common.arrays import IntArray
from common.codec.frame_state import REMEMBERED_FRAMES, FrameState, Newest, to_frame
from common.codec.packet import FrameClock, Scene
from common.codec.person import UNKNOWN_LEVEL, PersonPlan, PersonState, advance, check_person, predict, unknown_person
from common.codec.quantiser import GROUP_OF_ENTRY, LEVELS, LIMIT
from common.codec.tables import CodecTables
from common.errors import MalformedPacket
from common.frames import IDENTITIES, MAX_FRAME_SEQUENCE, MAX_PEOPLE, Camera, check_frame
from common.labels import GROUPS, LABEL_SIZE

_COUNT: Final = struct.Struct("<B")
_FRAME: Final = struct.Struct("<qqqqIIdIBBB")
_NEWEST: Final = struct.Struct("<qB")
_PERSON: Final = struct.Struct("<BBB")
_INTEGER_BYTES: Final = 8
# With few frames in flight, the frame that a person was predicted from is among so many entries.
_MAX_DISTANCE: Final = 8

# Parts of a flat state.
_VALUES: Final = slice(0, LABEL_SIZE)
_VELOCITY: Final = slice(LABEL_SIZE, 2 * LABEL_SIZE)
_PLAN: Final = slice(6 * LABEL_SIZE, None)
_PLAN_FIELDS: Final = np.cumsum([len(GROUPS), len(GROUPS), 1])


def encode_snapshot(frames: Sequence[FrameState], newest: Newest, tables: CodecTables) -> bytes:
    """States and newest groups as bytes; `decode_snapshot` of the same codec version restores them exactly.

    Args:
        frames: at most `REMEMBERED_FRAMES`.
        newest: of all packets up to the last frame.
        tables: the codec's.
    """
    people = _People(tables)
    parts = [_COUNT.pack(len(frames))]
    for frame in frames:
        parts += [_frame_head(frame), people.encode(frame.sequence, frame.people)]
    parts += [_NEWEST.pack(newest.sequence, len(newest.people)), people.encode(newest.sequence, newest.people)]
    return b"".join(parts)


def decode_snapshot(data: bytes, tables: CodecTables) -> tuple[list[FrameState], Newest]:
    """The inverse of `encode_snapshot`, for untrusted bytes.

    Raises:
        MalformedPacket: the bytes are not a snapshot, or their content is out of range.
    """
    try:
        stream, people = io.BytesIO(data), _People(tables)
        (count,) = _fields(stream, _COUNT)
        if count > REMEMBERED_FRAMES:
            raise ValueError(count)
        frames = [_read_frame(stream, people) for _ in range(count)]
        sequence, known = _fields(stream, _NEWEST)
        newest = Newest(_sequence(sequence), people.read(stream, sequence, known))
        if stream.read(1):
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


def _person(flat: IntArray, template: PersonState) -> PersonState:
    """The inverse of `_flat`. Raises ValueError if a field is out of range."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(template):
        shape = np.shape(getattr(template, field.name))
        count = int(np.prod(shape, dtype=int))
        values[field.name] = flat[:count].reshape(shape) if shape else int(flat[0])
        flat = flat[count:]
    person = PersonState(**values)
    check_person(person)
    return person


@dataclasses.dataclass(frozen=True)
class _Base:
    """A state that others are coded relative to.

    Args:
        person: checked.
        flat: the same in one row.
        sequence: of its frame.
    """

    person: PersonState
    flat: IntArray
    sequence: int

    def unexplained(self, flat: IntArray, sequence: int) -> int:
        """Number of entries whose velocity is not their change since this state."""
        frames = sequence - self.sequence
        velocity = (flat[_VALUES] - self.flat[_VALUES]) // frames if frames > 0 else self.flat[_VELOCITY]
        return int(np.count_nonzero(flat[_VELOCITY] != velocity))

    def differences(self, flat: IntArray, sequence: int, tables: CodecTables) -> IntArray:
        """What distinguishes a state from the one that is expected `sequence - self.sequence` frames later."""
        if sequence <= self.sequence:
            return flat - self.flat
        return flat - _Expectation(self, sequence, flat[_PLAN], tables).flat(flat[_VALUES])

    def add(self, differences: IntArray, sequence: int, tables: CodecTables) -> IntArray:
        """The inverse of `differences`, for untrusted ones: the result has to be checked."""
        if sequence <= self.sequence:
            return self.flat + differences
        expectation = _Expectation(self, sequence, self.flat[_PLAN] + differences[_PLAN], tables)
        return expectation.flat(expectation.values + differences[_VALUES]) + differences


class _Expectation:
    """What the codec makes of a base with a packet that contains certain groups.

    Args:
        base: of an earlier frame.
        sequence: of the packet.
        plan: level, confidence, score and `updated` after the packet, in one row.
    """

    def __init__(self, base: _Base, sequence: int, plan: IntArray, tables: CodecTables) -> None:
        self._base, self._sequence, self._tables = base, sequence, tables
        level, confidence, score, updated = np.split(plan, _PLAN_FIELDS)
        level = np.clip(level, UNKNOWN_LEVEL, LEVELS - 1)
        self._plan = PersonPlan(updated == sequence, level, confidence, int(score[0]))
        self._prediction = predict(tables, base.person, level, sequence - base.sequence)
        self.values: IntArray = np.where(self._plan.sent[GROUP_OF_ENTRY], self._prediction.centre, base.person.values)

    def flat(self, values: IntArray) -> IntArray:
        """The expected state, of which velocity, spread and age depend on the true values (E,)."""
        values = np.clip(values, -2 * LIMIT, 2 * LIMIT)
        after = advance(self._tables, self._base.person, self._plan, self._prediction, values, self._sequence)
        rest = (after.velocity, after.spread.ravel(), after.age)
        return np.concatenate([self.values, *rest, self._base.flat[_PLAN]])


def _encode_integers(integers: IntArray) -> tuple[int, bytes]:
    """The size of the largest integer in bytes, at least 1, and so many bytes of each, least significant ones first."""
    zigzag = ((integers << 1) ^ (integers >> 63)).astype("<u8")
    # Size 0 stands for a person equal to the base.
    size = max(-(-int(zigzag.max()).bit_length() // 8), 1)
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


def _fields(stream: io.BytesIO, layout: struct.Struct) -> tuple[Any, ...]:
    return layout.unpack(stream.read(layout.size))


def _take(stream: io.BytesIO, count: int) -> bytes:
    taken = stream.read(count)
    if len(taken) < count:
        raise ValueError(count)
    return taken


def _read_frame(stream: io.BytesIO, people: "_People") -> FrameState:
    """The inverse of `_frame_head` and `_People.encode`; raises struct.error or ValueError for other bytes."""
    fields = _fields(stream, _FRAME)
    sequence, time_ms, interval, spread, width, height, focal_px, seal, source, visible, count = fields
    if not (0 <= interval < 1 << 32 and 0 <= spread < 1 << 32):
        raise ValueError(interval)
    name = _take(stream, source).decode()
    scene = Scene(Camera(width, height, focal_px), name, tuple(_take(stream, visible)))
    known = people.read(stream, _sequence(sequence), count)
    if len(set(scene.identities)) != visible or not set(scene.identities) <= known.keys():
        raise ValueError(visible)
    state = FrameState(sequence, FrameClock(time_ms, interval, spread), scene, known, seal)
    check_frame(to_frame(state))
    return state


class _People:
    """The people of one entry after the other, each relative to the same identity in an earlier entry."""

    def __init__(self, tables: CodecTables) -> None:
        self._tables = tables
        unknown = unknown_person(tables)
        # Of no earlier frame: nothing is predicted from it.
        self._unknown = _Base(unknown, _flat(unknown), MAX_FRAME_SEQUENCE)
        self._entries: list[dict[int, _Base]] = []

    def encode(self, sequence: int, people: Mapping[int, PersonState]) -> bytes:
        """The people of the next entry."""
        added = {identity: _Base(person, _flat(person), sequence) for identity, person in people.items()}
        data = b"".join(self._encoded(sequence, identity, base.flat) for identity, base in added.items())
        self._entries.append(added)
        return data

    def read(self, stream: io.BytesIO, sequence: int, count: int) -> dict[int, PersonState]:
        """The inverse of `encode`; raises struct.error or ValueError for other bytes."""
        if count > MAX_PEOPLE:
            raise ValueError(count)
        added = dict(self._read_person(stream, sequence) for _ in range(count))
        if len(added) != count or any(identity >= IDENTITIES for identity in added):
            raise ValueError(count)
        self._entries.append(added)
        return {identity: base.person for identity, base in added.items()}

    def _base(self, distance: int, identity: int) -> _Base | None:
        """The state of a person so many entries before, or the unknown person's at distance 0; None without one."""
        if distance == 0:
            return self._unknown
        return self._entries[-distance].get(identity) if distance <= len(self._entries) else None

    def _encoded(self, sequence: int, identity: int, flat: IntArray) -> bytes:
        """A person relative to the base that explains them best."""
        found = [(distance, self._base(distance, identity)) for distance in range(_MAX_DISTANCE + 1)]
        bases = [(distance, base) for distance, base in found if base is not None]
        equal = next((distance for distance, base in bases if np.array_equal(flat, base.flat)), None)
        if equal is not None:
            return _PERSON.pack(identity, equal, 0)
        distance, base = min(bases[1:] or bases, key=lambda each: each[1].unexplained(flat, sequence))
        size, data = _encode_integers(base.differences(flat, sequence, self._tables))
        return _PERSON.pack(identity, distance, size) + data

    def _read_person(self, stream: io.BytesIO, sequence: int) -> tuple[int, _Base]:
        identity, distance, size = _fields(stream, _PERSON)
        base = self._base(distance, identity)
        if base is None or size > _INTEGER_BYTES:
            raise ValueError(distance)
        if size == 0:
            return identity, dataclasses.replace(base, sequence=sequence)
        differences = _decode_integers(_take(stream, size * base.flat.size), base.flat.size)
        flat = base.add(differences, sequence, self._tables)
        return identity, _Base(_person(flat, base.person), flat, sequence)
