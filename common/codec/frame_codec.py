"""Codec between label frames and packets; it predicts each frame from one that the receiver has or is to have.

    LabelFrame ─ plan ─ predict(reference) ─ quantise ─ range coder ─ seal ─→ payload
                              ▲                                                  │
       states by sequence ────┴───── advance ◄── dequantise ◄── range coder ◄────┘ verify

The encoder predicts from the newest frame that the receiver acknowledged or is expected to have, and names it in the
header. Both ends keep their last states, so a lost frame does not break prediction from acknowledged ones. Fast groups
are sent with every frame; one that a frame does not have keeps its prediction on both sides. Slow groups (identity,
clothes) are first sent coarsely and then refined, one group at a time, until their quantiser step is as fine as ρ
demands; after that they are sent only when they change (`common.codec.frame_state`). Fast groups that nobody sees are
sent coarsely until acknowledged, and rest until they are seen again.

A packet may have a bundle of up to eight frames: the first is predicted as above, each other one from the one before
it, in one stream with one check. Only the last one's state is kept: later packets are predicted from that.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np

from common.arrays import IntArray
from common.codec.frame_state import (
    NO_REFERENCES,
    REMEMBERED_FRAMES,
    Coded,
    DecodedFrame,
    EncodedFrame,
    FrameReferences,
    FrameState,
    Newest,
    bytes_of_each,
    choose_plan,
    decode_snapshot,
    encode_snapshot,
    keep_absent,
    newest_groups,
    rho_of,
    shares_of,
    state_seal,
    to_frame,
    total_bits,
)
from common.codec.packet import (
    CODEC_VERSION,
    MAX_BUNDLE,
    MAX_TIME_RESIDUAL_MS,
    References,
    Scene,
    body_of,
    can_share_packet,
    check_seed,
    code_clock,
    code_references,
    code_scene,
    follow,
    rounded_camera,
    seal,
    shorten_source,
    verify,
)
from common.codec.person import (
    CODED_ENTRIES,
    GroupCoder,
    PersonState,
    advance,
    code_plan,
    decoded_values,
    predict,
    residuals,
    unknown_person,
)
from common.codec.range_coder import SymbolCoder, SymbolReader, SymbolWriter
from common.codec.tables import CodecTables, load, rho_levels, vector_of
from common.errors import ChecksumMismatch, MalformedPacket, MissingReference
from common.frames import MAX_FRAME_SEQUENCE, MAX_PEOPLE, LabelFrame, PersonLabels, check_frame, check_header
from common.labels import GROUP_NAMES, LABEL_SIZE

MODEL_HASH_SIZE: Final = 8
_MAX_LAG: Final = 1 << 20
# Frames kept between two streams: one more than a usual window of unacknowledged frames.
_KEPT_FRAMES: Final = 5


@dataclass(frozen=True)
class _Content:
    """What an encoder writes: time, scene, people, and for each the finest levels (groups,) of the groups."""

    time_ms: int
    ahead: int
    scene: Scene
    people: tuple[PersonLabels, ...]
    levels: tuple[IntArray, ...]


class FrameCodec:
    """Encoder and decoder for one direction of one session; each end has one.

    Args:
        model_hash: 8 bytes that identify the trained networks; packets of other networks are refused.
        tables: frozen tables, by default those in the package.
        progressive: whether the encoder refines slow groups over later frames; else they are as fine as ρ at once.

    Attributes:
        needed_from: unless frames are lost, no later packet names one before this; a `snapshot` has those behind it.

    Raises:
        ValueError: `model_hash` does not have 8 bytes.
        WeightsError: the package's tables are missing or damaged.
    """

    def __init__(self, model_hash: bytes, tables: CodecTables | None = None, *, progressive: bool = True) -> None:
        if len(model_hash) != MODEL_HASH_SIZE:
            raise ValueError(f"the model hash has {MODEL_HASH_SIZE} bytes, got {len(model_hash)}")
        self._tables = tables or load()
        self._progressive = progressive
        self._hash = sha256(bytes([CODEC_VERSION]) + model_hash + self._tables.digest).digest()
        self.reset()

    def reset(self) -> None:
        """Forgets every state: the next frame sent is a key frame, and the next one received must be."""
        self._sent: OrderedDict[int, FrameState] = OrderedDict()
        self._received: OrderedDict[int, FrameState] = OrderedDict()
        self._under_way = self._shown = Newest()
        self.needed_from = 0
        self._acknowledged: int | None = None
        self._expected: int | None = None
        self._last_sent = -1

    def acknowledge(self, sequence: int) -> None:
        """Predicts from this frame from now on: the receiver has decoded it. Old and unknown sequences are ignored."""
        if sequence not in self._sent or (self._acknowledged is not None and sequence <= self._acknowledged):
            return
        keep = (self._acknowledged, sequence)
        for number in [number for number in self._sent if number < sequence and number not in keep]:
            del self._sent[number]
        self._acknowledged = sequence

    def expect(self, sequence: int) -> None:
        """Predicts from this frame, the newest, before it is acknowledged: the link hardly ever loses one."""
        self._expected = sequence

    def rewind(self) -> None:
        """Predicts from acknowledged frames again: one that was expected to arrive was lost, and others with it."""
        while self._expected is not None and self._sent and next(reversed(self._sent)) != self._acknowledged:
            self._sent.popitem()
        self._expected = None

    def encode(
        self,
        frame: LabelFrame,
        rho: Mapping[str, float],
        rho_by_person: Mapping[int, Mapping[str, float]] | None = None,
    ) -> EncodedFrame:
        """Encodes a frame; see `encode_bundle`."""
        return self.encode_bundle((frame,), rho, rho_by_person)

    def encode_bundle(
        self,
        frames: Sequence[LabelFrame],
        rho: Mapping[str, float],
        rho_by_person: Mapping[int, Mapping[str, float]] | None = None,
    ) -> EncodedFrame:
        """Encodes frames into one packet.

        Args:
            frames: one, or several for which `can_share_packet` holds.
            rho: group name → ρ, from 0 (fine) to 1 (coarse); 0 for groups without one.
            rho_by_person: identity → ρ in place of `rho`, for some people.

        Raises:
            ValueError: the frames do not fit one packet, the sequence does not increase, ρ or a field is out of range
                (`check_header`), or labels are not finite or not in the vocabulary.
        """
        contents = self._contents(frames, rho, rho_by_person or {})
        sequences = [frame.sequence for frame in frames]
        references, under_way = self._references(sequences[0], contents[0].time_ms), self._under_way
        writer = self._writer()
        code_references(writer, references.lags(sequences[0]))
        try:
            coded = self._code_bundle(writer, sequences, references, contents)
        except ValueError:
            self._under_way = under_way
            raise
        body = writer.finish()
        payload = seal(body, self._seed(sequences, references))
        self._remember(self._sent, coded[-1].state)
        self._last_sent = sequences[-1]
        return EncodedFrame(
            payload=payload,
            bytes_by_group=shares_of(total_bits(coded), len(payload)),
            bits_ideal=writer.bits,
            bits_coded=8 * len(body),
            key=references.first is None,
            sequence=sequences[-1],
            reference=references.first.sequence if references.first else None,
        )

    def _contents(
        self, frames: Sequence[LabelFrame], rho: Mapping[str, float], own: Mapping[int, Mapping[str, float]]
    ) -> list[_Content]:
        """What is written of the frames of a packet. Raises as `encode_bundle`."""
        if not can_share_packet(frames):
            raise ValueError("these frames do not fit one packet")
        common, contents, before = rho_levels(rho), list[_Content](), self._last_sent
        levels_of = {identity: rho_levels(values) for identity, values in own.items()}
        for frame in frames:
            check_header(frame)
            if frame.sequence <= before:
                raise ValueError(f"sequence numbers must increase: {frame.sequence} after {before}")
            identities = tuple(person.identity for person in frame.people)
            scene = Scene(rounded_camera(frame.camera), shorten_source(frame.source), identities)
            levels = tuple(levels_of.get(identity, common) for identity in identities)
            before = frame.sequence
            time_ms = round(frame.captured_at * 1000)
            contents.append(_Content(time_ms, frame.ahead_steps, scene, frame.people, levels))
        return contents

    def decode(self, payload: bytes, sequence: int) -> DecodedFrame:
        """Decodes a packet of one frame; see `decode_bundle`."""
        return self.decode_bundle(payload, (sequence,))[0]

    def decode_bundle(self, payload: bytes, sequences: Sequence[int]) -> tuple[DecodedFrame, ...]:
        """Decodes a packet; a refused one leaves the states as they were.

        Args:
            sequences: the frames' numbers, which the message around the packet has.

        Raises:
            WireError: the packet is refused: `ChecksumMismatch`, `MalformedPacket`, or `MissingReference`, after which
                the sender must send a key frame.
        """
        _check_sequences(sequences)
        body = body_of(payload)
        reader = SymbolReader(self._tables, body)
        references = self._find_references(sequences[0], code_references(reader, None))
        verify(payload, self._seed(sequences, references))
        coded = self._code_bundle(reader, sequences, references, None)
        reader.check_length()
        shown, newest, reference = list[Newest](), self._shown, references.first
        for part in coded:
            shown.append(newest := newest_groups(part.state, reference, newest))
            reference = part.state
        frames = [to_frame(replace(part.state, people=each.people)) for part, each in zip(coded, shown, strict=True)]
        for frame in frames:
            _check_content(frame)
        self._remember(self._received, coded[-1].state)
        self.needed_from = references.oldest(self.needed_from)
        if references.first is None or sequences[-1] > self._shown.sequence:
            self._shown = shown[-1]
        earlier = [references.first, *(part.state for part in coded)]
        return tuple(
            DecodedFrame(
                frame=frame,
                reference=before.sequence if before else None,
                bytes_by_group=shares,
                rho_by_person=dict(zip(part.state.scene.identities, map(rho_of, part.plans), strict=True)),
            )
            for frame, before, part, shares in zip(
                frames, earlier, coded, bytes_of_each(coded, len(payload)), strict=False
            )
        )

    def _writer(self) -> SymbolWriter:
        """Overridden where the tables are fitted, to see the residuals."""
        return SymbolWriter(self._tables)

    def keep_only(self, sequence: int) -> None:
        """Forgets every frame received but this one and a few before it: 64 of many people take megabytes."""
        kept = sorted(number for number in self._received if number <= sequence)[-_KEPT_FRAMES:]
        for number in [number for number in self._received if sequence not in self._received or number not in kept]:
            del self._received[number]

    def snapshot(self) -> bytes:
        """What decoding the packets after the last one depends on, for `restore`."""
        frames = [state for number, state in self._received.items() if number >= self.needed_from]
        return encode_snapshot(frames, self._shown)

    def restore(self, snapshot: bytes) -> None:
        """Goes on where the decoder of a `snapshot` was; raises MalformedPacket for bytes that are none."""
        frames, self._shown = decode_snapshot(snapshot)
        for state in frames:
            self._remember(self._received, state)
        self.needed_from = min((state.sequence for state in frames), default=0)

    def _references(self, sequence: int, time_ms: int) -> FrameReferences:
        """The states that the next frame is predicted from; none if it has to be a key frame."""
        newest = self._acknowledged if self._expected is None else self._expected
        first = None if newest is None else self._sent.get(newest)
        if first is None or sequence - first.sequence > _MAX_LAG:
            return NO_REFERENCES
        late_ms = time_ms - first.clock.predicted_ms(sequence - first.sequence)
        if abs(late_ms) >= MAX_TIME_RESIDUAL_MS:
            return NO_REFERENCES
        before = (state for state in reversed(self._sent.values()) if state.sequence < first.sequence)
        return FrameReferences(first, next(before, None))

    def _find_references(self, sequence: int, lags: References) -> FrameReferences:
        if not lags.lag:
            return NO_REFERENCES
        numbers = [sequence - lags.lag, *([sequence - lags.lag - lags.gap] if lags.gap else [])]
        for number in numbers:
            if number not in self._received:
                raise MissingReference(
                    f"frame {sequence} is predicted from frame {number}, which was never decoded here; "
                    "ask for a key frame"
                )
        return FrameReferences(*(self._received[number] for number in numbers))

    def _seed(self, sequences: Sequence[int], references: FrameReferences) -> bytes:
        first, second = references.first, references.second
        return check_seed(self._hash, sequences, (first.seal if first else 0, second.seal if second else 0))

    @staticmethod
    def _remember(states: OrderedDict[int, FrameState], state: FrameState) -> None:
        states[state.sequence] = state
        states.move_to_end(state.sequence)
        while len(states) > REMEMBERED_FRAMES:
            states.popitem(last=False)

    def _code_bundle(
        self,
        coder: SymbolCoder,
        sequences: Sequence[int],
        references: FrameReferences,
        contents: Sequence[_Content] | None,
    ) -> list[Coded]:
        """Writes `contents`, or reads them when they are None: everything behind the references."""
        coded, people = list[Coded](), 0
        for number, sequence in enumerate(sequences):
            part = self._code(coder, sequence, references, contents[number] if contents else None)
            if contents is not None:
                self._under_way = newest_groups(part.state, references.first, self._under_way)
            people += len(part.state.scene.identities)
            if number and people > MAX_PEOPLE:
                raise MalformedPacket(f"the packet has more than {MAX_PEOPLE} people in its frames")
            coded.append(part)
            references = FrameReferences(part.state)
        return coded

    def _code(self, coder: SymbolCoder, sequence: int, references: FrameReferences, content: _Content | None) -> Coded:
        """Writes `content`, or reads it when it is None: one frame."""
        reference, lag = references.first, references.lags(sequence).lag
        time_ms, ahead = (content.time_ms, content.ahead) if content else (None, None)
        clock = code_clock(coder, self._tables, reference.clock if reference else None, lag, time_ms, ahead)
        scene = code_scene(coder, reference.scene if reference else None, content.scene if content else None)
        coded = Coded(FrameState(sequence, clock, scene, {}, 0), [], {})
        people: dict[int, PersonState] = {}
        for number, identity in enumerate(scene.identities):
            before = references.person(identity) or unknown_person(self._tables)
            people[identity] = self._code_person(coder, coded, lag, before, content, number)
        if reference is not None:
            keep_absent(people, reference.people)
        coded.state = replace(coded.state, people=people, seal=state_seal(coded.state, people, reference))
        if reference is None and coder.uniform(coded.state.seal & 0xFFFF, 1 << 16) != coded.state.seal & 0xFFFF:
            raise ChecksumMismatch("the key frame leads to another state than it had at its sender")
        return coded

    def _code_person(
        self,
        coder: SymbolCoder,
        coded: Coded,
        lag: int,
        before: PersonState,
        content: _Content | None,
        number: int,
    ) -> PersonState:
        """Writes a person of `content`, or reads it when that is None; returns the state that follows."""
        sequence, plan, target = coded.state.sequence, None, None
        if content is not None:
            person = content.people[number]
            target, present = vector_of(person.labels)
            under_way = self._under_way.people.get(person.identity) if lag else None
            states, levels = (before, under_way or before), content.levels[number]
            plan = choose_plan(self._tables, *states, person, target, present, levels, self._progressive, sequence)
        plan = code_plan(coder, before, plan)
        prediction = predict(self._tables, before, plan.level, lag)
        residual = None if target is None else residuals(prediction, target)
        indices, groups = np.zeros(LABEL_SIZE, dtype=np.int64), GroupCoder(coder, self._tables, prediction, residual)
        for g in np.flatnonzero(plan.sent).tolist():
            name, bits_before = GROUP_NAMES[g], coder.bits
            indices[CODED_ENTRIES[g]] = groups.code(g)
            coded.bits[name] = coded.bits.get(name, 0.0) + coder.bits - bits_before
        coded.plans.append(plan)
        return advance(self._tables, before, plan, prediction, decoded_values(prediction, indices), sequence)


def _check_sequences(sequences: Sequence[int]) -> None:
    """Raises MalformedPacket for frames that no packet has."""
    if not follow(sequences) or not 0 <= sequences[0] <= sequences[-1] <= MAX_FRAME_SEQUENCE:
        raise MalformedPacket(f"a packet with frames {list(sequences)[:MAX_BUNDLE]}, which no packet has")


def _check_content(frame: LabelFrame) -> None:
    """Raises MalformedPacket for a frame whose content is out of range."""
    try:
        check_frame(frame)
    except ValueError as error:
        raise MalformedPacket(f"the packet has absurd content: {error}") from error
