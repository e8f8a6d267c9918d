"""States of frames that later ones are predicted from; encoder and decoder have equal ones.

A decoder's state as bytes (`FrameCodec.snapshot`), with which another decoder goes on where the first one is.

    number of frames │ frames │ newest groups
    frame: sequence · clock · width · height · focal length · seal · source · identities · people
    clock: time · interval · spread · steps ahead
    newest groups: sequence · people

People are rows of one fixed layout, little-endian.  Recordings compress them.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final
from zlib import crc32

import numpy as np

from common.arrays import BoolArray, Float64Array, IntArray
from common.codec.packet import CHECK_SIZE, KEY, FrameClock, References, Scene
from common.codec.person import (
    CONFIDENCES,
    FAST,
    OPTIONAL,
    SCORES,
    UNSEEN,
    PersonPlan,
    PersonState,
    check_person,
    known_confidence,
    known_labels,
)
from common.codec.tables import GROUP_OF_ENTRY, LIMIT, UNIT, CodecTables, steps
from common.errors import MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE, MAX_PEOPLE, Camera, LabelFrame, PersonLabels, check_frame
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, OPTIONAL_GROUPS, group_slices

REMEMBERED_FRAMES: Final = 64
"""Most frames that an end keeps."""


@dataclass(frozen=True)
class FrameState:
    """A frame that later ones can be predicted from; encoder and decoder have equal states and seals."""

    sequence: int
    clock: FrameClock
    scene: Scene
    people: Mapping[int, PersonState]
    seal: int


@dataclass(frozen=True)
class Newest:
    """The newest groups of all packets up to a frame, by person."""

    sequence: int = 0
    people: Mapping[int, PersonState] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameReferences:
    """The states that a frame is predicted from; without the first one it is a key frame."""

    first: FrameState | None = None
    second: FrameState | None = None

    def lags(self, sequence: int) -> References:
        """Their distances from a frame."""
        if self.first is None:
            return KEY
        gap = self.first.sequence - self.second.sequence if self.second else 0
        return References(sequence - self.first.sequence, gap)

    def oldest(self, otherwise: int) -> int:
        """The number of the earlier one; `otherwise` for a key frame."""
        return min((state.sequence for state in (self.first, self.second) if state is not None), default=otherwise)

    def person(self, identity: int) -> PersonState | None:
        """The state of a person: the first reference's, with groups that are newer in the second."""
        state = self.first.people.get(identity) if self.first else None
        if state is None or self.first is None or self.second is None:
            return state
        return with_newer(state, self.second.people.get(identity), self.first.sequence - self.second.sequence)


NO_REFERENCES: Final = FrameReferences()


def keep_absent(people: dict[int, PersonState], before: Mapping[int, PersonState]) -> None:
    """People out of view keep shape and colours; when the state is full, those absent the longest are dropped."""
    for identity, state in before.items():
        if len(people) < MAX_PEOPLE:
            people.setdefault(identity, state)


def newest_groups(state: FrameState, reference: FrameState | None, newest: Newest) -> Newest:
    """The people of a frame, with newer groups of earlier frames; a key frame begins anew."""
    if reference is None or state.sequence <= newest.sequence:
        return Newest(state.sequence, state.people)
    frames = state.sequence - newest.sequence
    people = {
        identity: with_newer(person, newest.people.get(identity), frames) for identity, person in state.people.items()
    }
    return Newest(state.sequence, people)


def state_seal(state: FrameState, people: Mapping[int, PersonState], reference: FrameState | None) -> int:
    """CRC-32 over the chain of states up to this one."""
    clock = state.clock
    known = (
        f"{state.sequence} {clock.time_ms} {clock.interval} {clock.spread} {clock.ahead} {state.scene} {tuple(people)}"
    )
    checksum = crc32(known.encode(), reference.seal if reference else 0)
    for identity in state.scene.identities:
        checksum = people[identity].checksum(checksum)
    return checksum


def to_frame(state: FrameState) -> LabelFrame:
    """The frame that a state describes, without `sigma`."""
    return LabelFrame(
        sequence=state.sequence,
        source=state.scene.source,
        captured_at=state.clock.time_ms / 1000,
        camera=state.scene.camera,
        people=tuple(
            PersonLabels(
                identity=identity,
                score=state.people[identity].score / (SCORES - 1),
                labels=known_labels(state.people[identity]),
                confidence=known_confidence(state.people[identity]),
            )
            for identity in state.scene.identities
        ),
        ahead_steps=state.clock.ahead,
    )


ALL_GROUPS: BoolArray = np.ones_like(FAST)
SLOW_GROUPS: BoolArray = ~FAST
_MAX_EXTRAPOLATION_FRAMES = 6


def with_newer(
    state: PersonState, other: PersonState | None, frames: int, groups: BoolArray = ALL_GROUPS, oldest: int = 0
) -> PersonState:
    """`state` with those groups of `other` that were sent later.

    While acknowledgements are under way, consecutive frames are predicted from different ones: with two frames in
    flight, even frames descend from even ones and odd frames from odd ones.  A slow group that is sent once must
    nevertheless reach all of them, and a fast group that one frame lacks is best predicted from the latest frame that
    has it.  So a packet names a second reference, from which it takes the groups that are newer there, and both ends
    remember for each person the newest groups of all packets: the decoder shows them with every frame, and the encoder
    does not send a slow group again that is under way.

    Args:
        other: None has none.
        frames: from `other` to `state`: its groups move on by half their velocity.
        groups: (G,) that are considered.
        oldest: groups that were sent before this frame are not taken.
    """
    if other is None:
        return state
    newer = groups & (other.level >= 0) & (other.updated >= oldest)
    newer &= (state.level < 0) | (other.updated > state.updated)
    if not newer.any():
        return state
    entry = newer[GROUP_OF_ENTRY]
    moved = other.values + (other.velocity * min(max(frames, 0), _MAX_EXTRAPOLATION_FRAMES) >> 1)
    return replace(
        state,
        values=np.where(entry, np.minimum(np.maximum(moved, -LIMIT), LIMIT), state.values),
        velocity=np.where(entry, other.velocity, state.velocity),
        spread=np.where(entry, other.spread, state.spread),
        age=np.where(entry, other.age, state.age),
        level=np.where(newer, other.level, state.level),
        confidence=np.where(newer, other.confidence, state.confidence),
        updated=np.where(newer, other.updated, state.updated),
    )


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The result of `FrameCodec.encode` or `encode_bundle`.

    Args:
        bytes_by_group: share of each group in the packet, plus `header` (header, check, plans); sums to its length.
        bits_ideal: −Σ log₂ p over all range-coded symbols.
        bits_coded: 8 × the bytes of the range coder's output.
        key: whether it begins with a key frame, which needs no reference.
        sequence: of its last frame.
        reference: sequence number of the frame it is predicted from, None in a key frame.
        faces: a part of the live picture of a face (`common.texture.face_picture`), beside the payload.
    """

    payload: bytes
    bytes_by_group: Mapping[str, float]
    bits_ideal: float
    bits_coded: int
    key: bool
    sequence: int
    reference: int | None
    faces: bytes = b""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """The result of `FrameCodec.decode`, or a part of that of `decode_bundle`.

    Args:
        frame: the people with their known groups, without `sigma`.
        reference: sequence number of the frame it was predicted from, None in a key frame.
        bytes_by_group: as in `EncodedFrame`; the frames of a bundle share its header.
        rho_by_person: identity → group name → ρ of the person's groups in the packet.
        clock_set_s: by how much the sender's clock was set before it, which its time of capture does not show.
    """

    frame: LabelFrame
    reference: int | None
    bytes_by_group: Mapping[str, float]
    rho_by_person: Mapping[int, Mapping[str, float]]
    clock_set_s: float = 0.0

    @property
    def rho(self) -> Mapping[str, float]:
        """Group name → ρ of the groups in the packet, for the first person."""
        return next(iter(self.rho_by_person.values()), {})


@dataclass
class Coded:
    """What was coded: the state that follows, the plans of the people, and the bits of each group."""

    state: FrameState
    plans: list[PersonPlan]
    bits: dict[str, float]


def rho_of(plan: PersonPlan) -> dict[str, float]:
    """ρ of the groups that are sent."""
    return {name: int(plan.level[g]) / 15 for g, name in enumerate(GROUP_NAMES) if plan.sent[g]}


def total_bits(coded: Sequence[Coded]) -> dict[str, float]:
    """Bits of each group in a packet."""
    total: dict[str, float] = {}
    for part in coded:
        for name, bits in part.bits.items():
            total[name] = total.get(name, 0.0) + bits
    return total


def bytes_of_each(coded: Sequence[Coded], total: int) -> list[dict[str, float]]:
    """Shares of each frame in a packet of `total` bytes, with an equal part of the header."""
    bits = total_bits(coded)
    whole = shares_of(bits, total)
    header = whole.pop("header") / len(coded)
    return [
        {name: whole[name] * (each / bits[name]) for name, each in part.bits.items() if name in whole}
        | {"header": header}
        for part in coded
    ]


def shares_of(bits: Mapping[str, float], total: int) -> dict[str, float]:
    """Shares in a packet of `total` bytes, which may be fewer than the information of its groups and the check."""
    information_bytes = max(sum(bits.values()) / 8, 1e-9)
    scale = min(1.0, (total - CHECK_SIZE) / information_bytes) / 8
    shares = {name: round(scale * value, 2) for name, value in bits.items() if value > 0}
    return {**shares, "header": round(total - sum(shares.values()), 2)}


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
        for each in fields(person):
            rows[each.name][number] = getattr(person, each.name)
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


# ρ level at which a slow group is first sent, levels per refinement, and frames between two updates of a group.
_FIRST_SLOW_LEVEL, _REFINEMENT_LEVELS, _SLOW_PERIOD_FRAMES = 9, 3, 2
# After so many frames without acknowledgement, a group that is under way counts as lost.
_UNDER_WAY_FRAMES = 16
# ρ level of groups that nobody sees.  They are sent again when the mean of their leading entries has moved by one σ on
# average, and so many frames have passed.
_UNSEEN_LEVEL, _UNSEEN_PERIOD_FRAMES = 9, 30
_LEADING = np.array([np.arange(3) + group.start for group in group_slices().values()])
# Smaller changes of a level are not worth the bits that announce them; smaller ones of a confidence are mostly noise.
_LEVEL_HYSTERESIS, _CONFIDENCE_HYSTERESIS, _SCORE_HYSTERESIS = 1, 3, 6


def choose_plan(
    tables: CodecTables,
    before: PersonState,
    newest: PersonState,
    person: PersonLabels,
    target: IntArray,
    present: BoolArray,
    levels: IntArray,
    progressive: bool,
    sequence: int,
) -> PersonPlan:
    """The plan of a frame: fast groups that are seen, new slow groups at their first level, and at most one refined.

    Groups that nobody sees are sent coarsely when that begins, and when their means have moved far.

    Args:
        before: of the reference.
        newest: after the last frame that was sent; its confidences and score stay unless they change much, and slow and
            unseen groups of it that are under way are not sent again.
        target: (E,) the person's entries in 2⁻¹⁶ σ.
        present: (G,) groups that the person has.
        levels: (G,) finest level of each group.
        progressive: whether slow groups are first sent coarsely.
    """
    before = with_newer(before, newest, 0, SLOW_GROUPS | before.unseen, sequence - _UNDER_WAY_FRAMES)
    known = before.level >= 0
    near = known & (np.abs(levels - before.level) <= _LEVEL_HYSTERESIS)
    confidence = _confidence(newest, person)
    unseen = UNSEEN & (confidence == 0)
    fast_level = np.where(unseen, _UNSEEN_LEVEL, np.where(near, before.level, levels))
    step_down = np.where(known, before.level - _REFINEMENT_LEVELS, _FIRST_SLOW_LEVEL if progressive else 0)
    level = np.where(FAST, fast_level, np.maximum(levels, step_down))
    rests = known & unseen & before.unseen & ~_moved(before, target, sequence)
    # That the person has lost an optional group is said once.
    present = present | (OPTIONAL & known & ~before.unseen)
    sent = present & ((FAST & ~rests) | ~known)
    excess = _slow_excess(tables, before, target, level)
    due = ~FAST & known & present & (sequence - before.updated >= _SLOW_PERIOD_FRAMES) & (excess > 1.0)
    if due.any():
        sent[int(np.argmax(np.where(due, excess, 0.0)))] = True
    score = _share(person.score, SCORES)
    near_score = known.any() and abs(score - newest.score) <= _SCORE_HYSTERESIS
    score = newest.score if near_score else score
    return PersonPlan(sent, level, np.where(sent, confidence, before.confidence), score)


def _confidence(newest: PersonState, person: PersonLabels) -> IntArray:
    """(G,) what is sent of each confidence; 0 of a limb is exact, and that of an optional group that is not there."""
    lacking = [name in OPTIONAL_GROUPS and name not in person.labels for name in GROUP_NAMES]
    stated = np.where(lacking, 0.0, [person.confidence.get(name, 1.0) for name in GROUP_NAMES])
    unseen = UNSEEN & (stated == 0)
    confidence = np.array([_share(value, CONFIDENCES) for value in stated.tolist()])
    confidence = np.where(UNSEEN & ~unseen, np.maximum(confidence, 1), confidence)
    near = np.abs(confidence - newest.confidence) <= _CONFIDENCE_HYSTERESIS
    return np.where((newest.level >= 0) & near & (newest.unseen == unseen), newest.confidence, confidence)


def _moved(before: PersonState, target: IntArray, sequence: int) -> BoolArray:
    """(G,) groups whose means are far from what was sent last, which is some time ago."""
    distance = np.abs(target - before.values)[_LEADING].mean(axis=1)
    moved: BoolArray = (distance > UNIT) & (sequence - before.updated >= _UNSEEN_PERIOD_FRAMES)
    return moved


def _share(value: float, size: int) -> int:
    return round(min(max(value, 0.0), 1.0) * (size - 1))


def _slow_excess(tables: CodecTables, before: PersonState, target: IntArray, level: IntArray) -> Float64Array:
    """(G,) largest error in each group relative to its limit: 3/4 step where the level gets finer, else 2 steps."""
    error_steps = np.abs(target - before.values) / steps(tables.base_step, level)
    largest = np.zeros(len(GROUP_NAMES))
    np.maximum.at(largest, GROUP_OF_ENTRY, error_steps)
    return largest / np.where(level < before.level, 0.75, 2.0)
