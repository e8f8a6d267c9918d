"""Decoders of whatever arrives, as targets of fuzzing, and mutations of what they take.

An input is the number of a target in `TARGETS` and its data.  A target refuses data with the documented error and stays
as it was, or takes it, and what was decoded is right: within its ranges, and equal when it is encoded and read again.
"""

import math
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import zstandard

from common.arrays import ByteArray
from common.codec import frame_codec
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.codec.packet import MAX_PACKET_BYTES, code_references, seal
from common.codec.range_coder import SymbolReader
from common.errors import MalformedPacket, WireError
from common.frames import MAX_PEOPLE, LabelFrame, check_frame
from common.labels import concatenate
from common.wears import Wears
from common.wire.convert import (
    MAX_PAYLOAD_BYTES,
    MAX_REASON_CHARACTERS,
    MAX_TIME_NS,
    NO_SEQUENCE,
    Acknowledgements,
    ClientMessages,
    FrameMessage,
    ServerMessages,
)
from common.wire.datagrams import Datagrams, is_compact
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, clip

CORPUS: Final = Path(__file__).parents[2] / "golden" / "packets.zst"
RAW: Final = 0x80
"""In the first byte of a packet's data: its check is what the last two bytes say, and not made right."""
FITS: Final = 0x20
"""In the same byte: the packet has the length of its symbols, and leads to the state that it says."""
PEOPLE: Final = (0, 1, 2, 6)
"""Of the frames that the four decoders have had."""
# One in so many decoded packets is also encoded again, with all that a state has: it takes as long as decoding ten.
_REENCODED: Final = 32


class Target(Protocol):
    """One decoder in some state."""

    def reset(self) -> None:
        """Goes back to the first state."""

    def take(self, data: bytes) -> bool:
        """Decodes data; whether it was taken. Raises AssertionError if it was not refused as it should, or is wrong."""


class PacketTarget:
    """Packets, predicted from honest frames or from the hostile ones before them.

    The first byte of the data chooses the decoder (2 bits), the earlier frames of a bundle (3 bits), `FITS`, and `RAW`.
    """

    def __init__(self) -> None:
        self._decoders = [_decoder(people) for people in PEOPLE]
        self._bases = [(decoder._received, decoder._shown, decoder.needed_from) for decoder in self._decoders]
        self._decoded = 0

    def reset(self) -> None:
        for decoder, (received, shown, needed) in zip(self._decoders, self._bases, strict=True):
            decoder._received, decoder._shown, decoder.needed_from = OrderedDict(received), shown, needed

    def take(self, data: bytes) -> bool:
        flags, payload = (data or b"\0")[0], data[1:]
        decoder = self._decoders[flags & 3]
        first = next(reversed(decoder._received), -1) + 1
        sequences = range(first, first + 1 + (flags >> 2 & 7))
        if not flags & RAW:
            payload = _sealed(decoder, payload, sequences)
        before = _state(decoder)
        try:
            vars(frame_codec)["SymbolReader"] = _FittingReader if flags & FITS else SymbolReader
            decoded = decoder.decode_bundle(payload, sequences)
        except WireError:
            assert _state(decoder) == before, "a refused packet has changed the state"
            return False
        finally:
            vars(frame_codec)["SymbolReader"] = SymbolReader
        self._check(decoder, decoded, sequences, payload)
        return True

    def _check(
        self, decoder: FrameCodec, decoded: Sequence[DecodedFrame], sequences: Sequence[int], payload: bytes
    ) -> None:
        assert [part.frame.sequence for part in decoded] == list(sequences) and len(payload) <= MAX_PACKET_BYTES
        for part in decoded:
            _check_frame(part.frame)
            assert all(0 <= rho <= 1 for each in part.rho_by_person.values() for rho in each.values())
            assert all(share >= 0 for share in part.bytes_by_group.values())
        shares = sum(sum(part.bytes_by_group.values()) for part in decoded)
        assert abs(shares - len(payload)) < 0.1, f"{shares} bytes of {len(payload)}"
        self._decoded += 1
        if self._decoded % _REENCODED == 0:
            snapshot, again = decoder.snapshot(), FrameCodec(MODEL_HASH)
            again.restore(snapshot)
            assert again.snapshot() == snapshot, "a state changes in a snapshot"
            _check_reencoded(decoded[-1].frame)


def _decoder(people: int) -> FrameCodec:
    """The receiver of twelve frames with so many people; of none if there are none."""
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    for frame in clip(12 if people else 0, seed=50, people=people):
        decoder.decode(encoder.encode(frame, FINE_RHO).payload, frame.sequence)
        encoder.acknowledge(frame.sequence - 2)
    return decoder


def _state(decoder: FrameCodec) -> tuple[list[int], int, int]:
    return list(map(id, decoder._received.values())), id(decoder._shown), decoder.needed_from


def _sealed(decoder: FrameCodec, body: bytes, sequences: Sequence[int]) -> bytes:
    """A packet with the check that fits what its body refers to."""
    try:
        lags = code_references(SymbolReader(decoder._tables, body), None)
        return seal(body, decoder._seed(sequences, decoder._find_references(sequences[0], lags)))
    except WireError:
        return body + b"\0\0"


class _FittingReader(SymbolReader):
    """Of a packet that fits: neither longer than its symbols, nor made for another state than a key frame leads to."""

    def uniform(self, value: int | None, size: int) -> int:
        # It is all that a reader is told before it reads.
        read = super().uniform(value, size)
        return read if value is None else value

    def check_length(self) -> None:
        self._stream_bits = min(self._stream_bits, math.ceil(self.bits))
        super().check_length()


def _check_frame(frame: LabelFrame) -> None:
    check_frame(frame)
    assert len(frame.people) <= MAX_PEOPLE and len(frame.source.encode()) <= 255
    for person in frame.people:
        assert np.isfinite(concatenate(person.labels)).all() and person.labels.keys() <= person.confidence.keys()


def _check_reencoded(frame: LabelFrame) -> None:
    """Encoded as finely as possible, a decoded frame is decoded again as it was."""
    encoded = FrameCodec(MODEL_HASH, progressive=False).encode(frame, {})
    again = FrameCodec(MODEL_HASH).decode(encoded.payload, frame.sequence).frame
    assert (again.source, again.captured_at, again.camera) == (frame.source, frame.captured_at, frame.camera)
    for before, after in zip(frame.people, again.people, strict=True):
        assert (before.identity, before.score) == (after.identity, after.score)


class StreamTarget:
    """Messages of a stream, each read behind the one before."""

    def __init__(self, messages: type[ClientMessages] | type[ServerMessages]) -> None:
        self._new = messages
        self.reset()

    def reset(self) -> None:
        self._messages = self._new()

    def take(self, data: bytes) -> bool:
        before = self._messages._position
        try:
            message = self._messages.decode(data)
        except MalformedPacket:
            assert self._messages._position == before, "a refused message has moved the position"
            return False
        _check_fields(message)
        writer, reader = self._new(), self._new()
        writer._position = reader._position = before
        assert reader.decode(writer.encode(message)) == message, f"{message} is read as another one"  # type: ignore[arg-type]
        return True


class DatagramTarget:
    """Messages that come in datagrams, of a session in which frames and answers have come before."""

    def __init__(self, messages: type[ClientMessages] | type[ServerMessages]) -> None:
        self._new = messages
        self.reset()

    def reset(self) -> None:
        self._numbers = Datagrams()
        self._numbers._sent = self._numbers._answered = self._numbers._received = 1000
        self._messages = self._new(self._numbers)

    def take(self, data: bytes) -> bool:
        before = vars(self._numbers).copy()
        try:
            message = self._messages.decode(data)
        except MalformedPacket:
            assert vars(self._numbers) == before, "a refused datagram has moved the numbers"
            return False
        _check_fields(message)
        if is_compact(data):
            _check_compact(message)
        return True


def _check_compact(message: Any) -> None:
    """What a datagram says is read again from the datagram that is written of it, if one can say it."""
    writer, reader = Datagrams(), Datagrams()
    if isinstance(message, FrameMessage):
        writer._answered = reader._received = message.sequence - 1
        coded = writer.encode(message)
        assert coded is not None and reader.decode_frame(coded) == message
    else:
        reader._sent = message.frames[-1].sequence
        coded = writer.encode(message)
        assert coded is None or reader.decode_answers(coded) == message


def _check_fields(message: Any) -> None:
    """What no message has, whatever it is: text that cannot be printed, or that is long, and absurd numbers."""
    for part in message.frames if isinstance(message, Acknowledgements) else (message,):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, str):
                assert value.isprintable() and len(value) <= MAX_REASON_CHARACTERS, f"{field.name} is {value!r}"
            elif isinstance(value, bytes):
                assert len(value) <= MAX_PAYLOAD_BYTES
            elif isinstance(value, int):
                least = -MAX_TIME_NS if field.name == "clock_offset_ns" else NO_SEQUENCE
                assert least <= value <= MAX_TIME_NS, f"{field.name} is {value}"


class WearsTarget:
    """Sets of kinds that people wear."""

    def reset(self) -> None: ...

    def take(self, data: bytes) -> bool:
        try:
            wears = Wears.decode(data)
        except ValueError:
            return False
        assert wears.encode() == data and all(wears.sets().values())
        return True


class SnapshotTarget:
    """States of a codec, from a recording that anybody may have written."""

    def __init__(self) -> None:
        self._next = clip(1, seed=51)[0]

    def reset(self) -> None: ...

    def take(self, data: bytes) -> bool:
        decoder = FrameCodec(MODEL_HASH)
        try:
            decoder.restore(data)
        except MalformedPacket:
            assert not decoder._received
            return False
        sequence = max(decoder._received, default=0) + 1
        for body in (b"\x30", b"\x80\x11", bytes(range(0, 250, 7))):
            try:
                decoder.decode(_sealed(decoder, body, (sequence,)), sequence)
            except WireError:
                continue
        return True


TARGETS: Final[dict[str, Callable[[], Target]]] = {
    "packets": PacketTarget,
    "messages of senders": lambda: StreamTarget(ClientMessages),
    "messages of receivers": lambda: StreamTarget(ServerMessages),
    "datagrams of senders": lambda: DatagramTarget(ClientMessages),
    "datagrams of receivers": lambda: DatagramTarget(ServerMessages),
    "kinds": WearsTarget,
    "states": SnapshotTarget,
}


_LENGTH: Final = struct.Struct("<H")


def read_corpus() -> list[bytes]:
    """Inputs that together reach all that mutations have reached so far (`tests.netlab.hostile.grow_corpus`)."""
    data, inputs = zstandard.decompress(CORPUS.read_bytes()), []
    while data:
        (length,) = _LENGTH.unpack_from(data)
        inputs.append(data[_LENGTH.size : _LENGTH.size + length])
        data = data[_LENGTH.size + length :]
    return inputs


def write_corpus(inputs: Sequence[bytes]) -> None:
    """Replaces the inputs, each of at most 64 KiB."""
    data = b"".join(_LENGTH.pack(len(each)) + each for each in sorted(inputs))
    CORPUS.write_bytes(zstandard.ZstdCompressor(level=19).compress(data))


def of_target(inputs: Sequence[bytes]) -> dict[str, list[bytes]]:
    """The data of inputs by target."""
    return {name: [data[1:] for data in inputs if data[0] == number] for number, name in enumerate(TARGETS)}


def mutated(rng: np.random.Generator, parents: Sequence[bytes], count: int) -> list[bytes]:
    """Damaged versions of data chosen at random: bits flipped, overwritten, cut, shifted, and spliced.

    One in eight is of a long parent, if there are short ones.
    """
    short = [parent for parent in parents if len(parent) <= _SHORT]
    long = [parent for parent in parents if len(parent) > _SHORT]
    counts = (count, 0) if not long else (0, count) if not short else (count - count // 8, count // 8)
    children = [child for of, number in zip((short, long), counts, strict=True) for child in _mutated(rng, of, number)]
    return [children[place] for place in rng.permutation(count)]


def _mutated(rng: np.random.Generator, parents: Sequence[bytes], count: int) -> list[bytes]:
    """Of parents of about one length."""
    if not count:
        return []
    width = max(map(len, parents)) + 8
    table = np.zeros((len(parents), width), np.uint8)
    for row, parent in zip(table, parents, strict=True):
        row[: len(parent)] = np.frombuffer(parent, np.uint8)
    lengths, chosen = np.array([len(parent) for parent in parents]), rng.integers(len(parents), size=count)
    rows, size = table[chosen], lengths[chosen]
    at, kind = (rng.random(count) * (size + 1)).astype(np.int64), rng.integers(8, size=count)
    (spliced,), (shifted,) = np.nonzero(kind == 0), np.nonzero(kind == 1)
    others = rng.integers(len(parents), size=len(spliced))
    behind = np.arange(width) >= at[spliced, None]
    rows[spliced] = np.where(behind, table[others], rows[spliced])
    size[spliced] = np.maximum(lengths[others], at[spliced])
    by = rng.integers(-7, 8, size=len(shifted))
    columns = np.arange(width) - np.where(np.arange(width) >= at[shifted, None], by[:, None], 0)
    rows[shifted] = np.take_along_axis(rows[shifted], np.clip(columns, 0, width - 1), axis=1)
    size[shifted] = np.clip(size[shifted] + by, 0, width)
    size = np.where(kind == 2, at, size)
    _overwrite(rng, rows, size, kind == 3)
    for often in (1.0, 0.4, 0.2, 0.1):
        _flip(rng, rows, size, (kind > 2) & (rng.random(count) < often))
    data, ends = rows.tobytes(), size.tolist()
    return [data[start : start + end] for start, end in zip(range(0, count * width, width), ends, strict=True)]


# Longer ones are damaged apart: all data takes the memory of the longest.
_SHORT: Final = 256


def _places(rng: np.random.Generator, size: Any, which: Any) -> tuple[Any, Any]:
    (index,) = np.nonzero(which & (size > 0))
    return index, (rng.random(len(index)) * size[index]).astype(np.int64)


def _overwrite(rng: np.random.Generator, rows: ByteArray, size: Any, which: Any) -> None:
    index, place = _places(rng, size, which)
    rows[index, place] = rng.choice(np.array([0, 1, 0x7F, 0x80, 0xFF], np.uint8), len(index))


def _flip(rng: np.random.Generator, rows: ByteArray, size: Any, which: Any) -> None:
    index, place = _places(rng, size, which)
    rows[index, place] ^= (1 << rng.integers(8, size=len(index))).astype(np.uint8)
