"""Codec between label frames and packets; it predicts each frame from the last acknowledged one.

    LabelFrame ─ plan ─ predict(reference) ─ quantise ─ range coder ─ parts ─ pack ─→ payload
                              ▲                                                        │
       states by sequence ────┴──────────── advance ◄── dequantise ◄── range coder ◄───┘ parse

The encoder predicts from the newest frame that the receiver acknowledged and names it in the header.  Both ends keep
their last states, so a lost or skipped frame does not break prediction.  Fast groups are sent with every frame.  Slow
groups (identity, clothes) are first sent coarsely and then refined, one group at a time, until their quantiser step is
as fine as ρ demands; after that they are sent only when they change by more than two steps.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np

from common.arrays import Float64Array, IntArray
from common.codec.frame_state import FrameState, decode_state, encode_state
from common.codec.packet import HASH_SIZE, Header, pack, parse, rounded_camera, seal, shorten_source
from common.codec.person import (
    FAST,
    SCORES,
    PersonPlan,
    PersonState,
    Prediction,
    advance,
    code_plan,
    code_residuals,
    decoded_values,
    keep_missing,
    known_confidence,
    known_labels,
    predict,
    residuals,
    unknown_person,
)
from common.codec.quantiser import GROUP_OF_ENTRY, prefix_lengths, prefix_mask, rho_levels, steps, vector_of
from common.codec.range_coder import SymbolCoder, SymbolReader, SymbolWriter
from common.codec.tables import TIERS, CodecTables, load
from common.errors import MalformedPacket, MissingReference
from common.frames import MAX_PEOPLE, LabelFrame, PersonLabels, check_frame, check_header
from common.labels import GROUP_NAMES, LABEL_SIZE

MODEL_HASH_SIZE: Final = 8
REMEMBERED_FRAMES: Final = 64

# ρ level at which a slow group is first sent, levels per refinement, and frames between two updates of a group.
_FIRST_SLOW_LEVEL, _REFINEMENT_LEVELS, _SLOW_PERIOD_FRAMES = 9, 3, 8


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The result of `FrameCodec.encode`.

    Args:
        payload: the packet.
        bytes_by_group: share of each group in the packet, plus `header` (header, checksums, plans); sums to its length.
        bits_ideal: −Σ log₂ p over all range-coded symbols.
        bits_coded: 8 × the bytes of the range coder's output.
        key: whether it is a key frame, which needs no reference.
        sequence: sequence number of the frame.
        reference: sequence number of the frame it is predicted from, None in a key frame.
    """

    payload: bytes
    bytes_by_group: Mapping[str, float]
    bits_ideal: float
    bits_coded: int
    key: bool
    sequence: int
    reference: int | None


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """The result of `FrameCodec.decode`.

    Args:
        frame: the people with their known groups, each a prefix, without `sigma`.
        reference: sequence number of the frame it was predicted from, None in a key frame.
        complete: False if the packet was truncated: the missing groups keep their values of the reference, or are
            absent. Only a complete frame may be acknowledged.
        bytes_by_group: as in `EncodedFrame`.
        rho: group name → ρ of the groups in the packet, for the first person.
    """

    frame: LabelFrame
    reference: int | None
    complete: bool
    bytes_by_group: Mapping[str, float]
    rho: Mapping[str, float]


@dataclass
class _CodedPerson:
    """A person during encoding or decoding; `indices` (E,) are the quantised residuals, zero until they are read."""

    before: PersonState
    plan: PersonPlan
    prediction: Prediction
    indices: IntArray


class FrameCodec:
    """Encoder and decoder for one direction of one session; each end has one.

    Args:
        model_hash: 8 bytes that identify the trained networks; packets of other networks are refused.
        tables: frozen tables, by default those in the package.
        progressive: whether the encoder refines slow groups over later frames; else they are as fine as ρ at once.

    Raises:
        ValueError: `model_hash` does not have 8 bytes.
        WeightsError: the package's tables are missing or damaged.
    """

    def __init__(self, model_hash: bytes, tables: CodecTables | None = None, *, progressive: bool = True) -> None:
        if len(model_hash) != MODEL_HASH_SIZE:
            raise ValueError(f"the model hash has {MODEL_HASH_SIZE} bytes, got {len(model_hash)}")
        self._tables = tables or load()
        self._first_slow_level = _FIRST_SLOW_LEVEL if progressive else 0
        self._hash = sha256(model_hash + self._tables.digest).digest()[:HASH_SIZE]
        self._sent: OrderedDict[int, FrameState] = OrderedDict()
        self._received: OrderedDict[int, FrameState] = OrderedDict()
        self._acknowledged: int | None = None
        self._last_sent = -1

    def reset(self) -> None:
        """Forgets every state: the next frame sent is a key frame, and the next one received must be."""
        self._sent.clear()
        self._received.clear()
        self._acknowledged = None
        self._last_sent = -1

    def acknowledge(self, sequence: int) -> None:
        """Predicts from this frame from now on: the receiver has decoded it. Old and unknown sequences are ignored."""
        if sequence not in self._sent or (self._acknowledged is not None and sequence <= self._acknowledged):
            return
        self._acknowledged = sequence
        while next(iter(self._sent)) != sequence:
            self._sent.popitem(last=False)

    def encode(self, frame: LabelFrame, rho: Mapping[str, float]) -> EncodedFrame:
        """Encodes a frame.

        Args:
            frame: up to 32 people.
            rho: group name → ρ, from 0 (fine) to 1 (coarse); 0 for groups without one.

        Raises:
            ValueError: the sequence does not increase, ρ or a field is out of range (`check_header`), or labels are
                not finite or not in the vocabulary.
        """
        check_header(frame)
        if frame.sequence <= self._last_sent:
            raise ValueError(f"sequence numbers must increase: {frame.sequence} after {self._last_sent}")
        levels = rho_levels(rho)
        reference = self._reference()
        header, state = self._header(frame, reference)
        writers = [self._writer() for _ in range(TIERS)]
        coded = [self._write_plan(writers[0], person, state, levels, header.lag) for person in frame.people]
        bits = dict.fromkeys(GROUP_NAMES, 0.0)
        for tier, writer in enumerate(writers):
            self._code_tier(writer, tier, coded, bits, write=True)
        parts = [writer.finish() for writer in writers]
        payload = pack(header, parts, self._hash, reference.seal if reference else 0)
        self._remember(self._sent, self._advance(replace(state, seal=seal(payload)), header, coded))
        self._last_sent = frame.sequence
        return EncodedFrame(
            payload=payload,
            bytes_by_group=_bytes_by_group(bits, len(payload)),
            bits_ideal=sum(writer.bits for writer in writers),
            bits_coded=8 * sum(len(part) for part in parts),
            key=reference is None,
            sequence=frame.sequence,
            reference=reference.sequence if reference else None,
        )

    def decode(self, payload: bytes, sequence: int | None = None) -> DecodedFrame:
        """Decodes a packet; a refused or incomplete one leaves the states as they were.

        Args:
            sequence: the number that the packet must have; None accepts any.

        Raises:
            WireError: the packet is refused: `VersionMismatch`, `ModelMismatch`, `ChecksumMismatch`,
                `MalformedPacket`, or `MissingReference`, after which the sender must send a key frame.
        """
        packet = parse(payload, self._hash, self._seed)
        header = packet.header
        reference = self._find_reference(header)
        state = _decoded_header(header, reference, seal(payload))
        readers = [SymbolReader(self._tables, part) for part in packet.parts]
        coded = [self._read_plan(readers[0], state, identity, header.lag) for identity in header.identities]
        bits = dict.fromkeys(GROUP_NAMES, 0.0)
        for tier, reader in enumerate(readers):
            self._code_tier(reader, tier, coded, bits, write=False)
        for reader in readers:
            reader.check_length()
        complete = len(readers) == TIERS
        after = self._advance(state, header, coded, arrived_tiers=len(readers))
        frame = _to_frame(after, header.identities)
        _refuse_absurd(frame, sequence)
        if complete:
            self._remember(self._received, after)
        return DecodedFrame(
            frame=frame,
            reference=reference.sequence if reference else None,
            complete=complete,
            bytes_by_group=_bytes_by_group(bits, len(payload)),
            rho=_rho(coded[0].plan) if coded else {},
        )

    def _writer(self) -> SymbolWriter:
        return SymbolWriter(self._tables)

    def keep_only(self, sequence: int) -> None:
        """Forgets every frame received but this one; 64 frames of many people take megabytes."""
        for number in [number for number in self._received if number != sequence]:
            del self._received[number]

    def snapshot(self, sequence: int) -> bytes | None:
        """The state after a frame that was decoded here, for `restore`; None if it is forgotten."""
        state = self._received.get(sequence)
        return None if state is None else encode_state(state)

    def restore(self, snapshot: bytes) -> None:
        """Takes over a `snapshot` of the same codec version; raises MalformedPacket for anything else."""
        self._remember(self._received, decode_state(snapshot, unknown_person(self._tables)))

    def _reference(self) -> FrameState | None:
        if self._acknowledged is None:
            return None
        return self._sent.get(self._acknowledged)

    def _find_reference(self, header: Header) -> FrameState | None:
        if not header.lag:
            return None
        reference = self._received.get(header.sequence - header.lag)
        if reference is None:
            raise MissingReference(
                f"frame {header.sequence} is predicted from frame {header.sequence - header.lag}, "
                "which was never decoded here; ask for a key frame"
            )
        return reference

    def _seed(self, header: Header) -> int:
        reference = self._find_reference(header)
        return reference.seal if reference else 0

    @staticmethod
    def _remember(states: OrderedDict[int, FrameState], state: FrameState) -> None:
        states[state.sequence] = state
        states.move_to_end(state.sequence)
        while len(states) > REMEMBERED_FRAMES:
            states.popitem(last=False)

    @staticmethod
    def _header(frame: LabelFrame, reference: FrameState | None) -> tuple[Header, FrameState]:
        camera, source = rounded_camera(frame.camera), shorten_source(frame.source)
        time_ms = round(frame.captured_at * 1000)
        header = Header(
            sequence=frame.sequence,
            lag=frame.sequence - reference.sequence if reference else 0,
            time_ms=time_ms - reference.time_ms if reference else time_ms,
            camera=None if reference and reference.camera == camera else camera,
            source=None if reference and reference.source == source else source,
            identities=tuple(person.identity for person in frame.people),
        )
        people_before = reference.people if reference else {}
        return header, FrameState(frame.sequence, time_ms, camera, source, people_before)

    def _write_plan(
        self, writer: SymbolWriter, person: PersonLabels, state: FrameState, levels: IntArray, lag: int
    ) -> _CodedPerson:
        before = state.people.get(person.identity) or unknown_person(self._tables)
        target, lengths = vector_of(person.labels)
        plan = _choose(self._tables, before, person, target, lengths, levels, self._first_slow_level, state.sequence)
        plan = code_plan(writer, before, plan)
        prediction = predict(self._tables, before, plan, lag)
        return _CodedPerson(before, plan, prediction, residuals(prediction, target))

    def _read_plan(self, reader: SymbolCoder, state: FrameState, identity: int, lag: int) -> _CodedPerson:
        before = state.people.get(identity) or unknown_person(self._tables)
        plan = code_plan(reader, before, None)
        prediction = predict(self._tables, before, plan, lag)
        return _CodedPerson(before, plan, prediction, np.zeros(LABEL_SIZE, dtype=np.int64))

    def _code_tier(
        self, coder: SymbolCoder, tier: int, coded: list[_CodedPerson], bits: dict[str, float], *, write: bool
    ) -> None:
        for g in self._tables.groups_of_tier[tier]:
            bits_before = coder.bits
            for person in coded:
                if person.plan.sent[g]:
                    code_residuals(coder, person.prediction, g, person.indices, write=write)
            bits[GROUP_NAMES[g]] = coder.bits - bits_before

    def _advance(
        self, state: FrameState, header: Header, coded: list[_CodedPerson], arrived_tiers: int = TIERS
    ) -> FrameState:
        missing = self._tables.tier >= arrived_tiers
        after: dict[int, PersonState] = {}
        for identity, person in zip(header.identities, coded, strict=True):
            values = decoded_values(person.prediction, person.indices)
            known = advance(self._tables, person.before, person.plan, person.prediction, values, header.sequence)
            after[identity] = keep_missing(person.before, known, missing) if missing.any() else known
        # People out of view keep shape and colours; when the state is full, those absent the longest are dropped.
        for identity, before in state.people.items():
            if len(after) < MAX_PEOPLE:
                after.setdefault(identity, before)
        return replace(state, people=after)


def _refuse_absurd(frame: LabelFrame, sequence: int | None) -> None:
    """Raises MalformedPacket for a frame whose content is out of range, or that is another than `sequence`."""
    if sequence not in (None, frame.sequence):
        raise MalformedPacket(f"frame {sequence} has the payload of frame {frame.sequence}")
    try:
        check_frame(frame)
    except ValueError as error:
        raise MalformedPacket(f"the packet has absurd content: {error}") from error


def _choose(
    tables: CodecTables,
    before: PersonState,
    person: PersonLabels,
    target: IntArray,
    lengths: IntArray,
    levels: IntArray,
    first_slow_level: int,
    sequence: int,
) -> PersonPlan:
    """The plan of a frame: every fast group, new slow groups at their first level, and at most one of them refined."""
    known = before.level >= 0
    step_down = np.where(known, before.level - _REFINEMENT_LEVELS, first_slow_level)
    level = np.where(FAST, levels, np.maximum(levels, step_down))
    sent = (lengths > 0) & (FAST | ~known)
    excess = _slow_excess(tables, before, target, level)
    due = ~FAST & known & (lengths > 0) & (sequence - before.updated >= _SLOW_PERIOD_FRAMES) & (excess > 1.0)
    if due.any():
        sent[int(np.argmax(np.where(due, excess, 0.0)))] = True
    confidence = np.array([round(15 * min(max(person.confidence.get(name, 1.0), 0.0), 1.0)) for name in GROUP_NAMES])
    # Changes of the last bit are mostly noise.
    confidence = np.where(known & (np.abs(confidence - before.confidence) <= 1), before.confidence, confidence)
    score = round(min(max(person.score, 0.0), 1.0) * (SCORES - 1))
    score = before.score if known.any() and abs(score - before.score) <= 2 else score
    return PersonPlan(sent, level, np.where(sent, confidence, before.confidence), score)


def _slow_excess(tables: CodecTables, before: PersonState, target: IntArray, level: IntArray) -> Float64Array:
    """(G,) largest error in each group relative to its limit: 3/4 step where the level gets finer, else 2 steps."""
    covered = prefix_mask(prefix_lengths(level, np.ones(len(GROUP_NAMES), dtype=np.bool_)))
    error_steps = np.abs(target - before.values) / steps(tables.base_step, level)
    largest = np.zeros(len(GROUP_NAMES))
    np.maximum.at(largest, GROUP_OF_ENTRY, np.where(covered, error_steps, 0.0))
    return largest / np.where(level < before.level, 0.75, 2.0)


def _decoded_header(header: Header, reference: FrameState | None, sealed: int) -> FrameState:
    camera = header.camera or (reference.camera if reference else None)
    source = header.source if header.source is not None else (reference.source if reference else None)
    if camera is None or source is None:
        raise MalformedPacket("a key frame has no camera or no source")
    time_ms = header.time_ms + (reference.time_ms if reference else 0)
    return FrameState(header.sequence, time_ms, camera, source, reference.people if reference else {}, sealed)


def _to_frame(state: FrameState, identities: tuple[int, ...]) -> LabelFrame:
    return LabelFrame(
        sequence=state.sequence,
        source=state.source,
        captured_at=state.time_ms / 1000,
        camera=state.camera,
        people=tuple(
            PersonLabels(
                identity=identity,
                score=state.people[identity].score / (SCORES - 1),
                labels=known_labels(state.people[identity]),
                confidence=known_confidence(state.people[identity]),
            )
            for identity in identities
        ),
    )


def _rho(plan: PersonPlan) -> dict[str, float]:
    return {name: int(plan.level[g]) / 15 for g, name in enumerate(GROUP_NAMES) if plan.sent[g]}


def _bytes_by_group(bits: Mapping[str, float], total: int) -> dict[str, float]:
    shares = {name: round(value / 8, 2) for name, value in bits.items() if value > 0}
    return {**shares, "header": round(total - sum(shares.values()), 2)}
