"""The content of blocks of frames and of blobs.

    frames   number of records · metadata of each record │ data of each record
    record   kind · sequence · capture time · arrival time · size of the data (varints; the first three are differences)
    blob     kind (1 B of length, UTF-8) · key 4 B │ data

The metadata are together because they compress; packets do not.
"""

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.blobs import Blob
from common.errors import RecordingError
from common.recording.varints import VarintReader, append_signed, append_varint

MAX_RECORDS: Final = 4096
"""Most records of a block."""
MAX_RECORD_BYTES: Final = 1 << 20
BLOB_PREFIX_BYTES: Final = 1 + 255 + 4
"""Kind and key of a blob are in the first so many bytes of its block."""
_KEY: Final = struct.Struct("<I")
_MAX_TIME_US: Final = 1 << 53


class RecordKind(enum.IntEnum):
    """What a record's data are."""

    FRAME = 0
    KEY_FRAME = 1
    STATE = 2


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One packet.

    Args:
        sequence: of the frame.
        captured_us: microseconds since the epoch on the sender's clock.
        arrived_us: microseconds since the epoch on the recorder's clock: when the packet arrived, or was made.
        key: it decodes without any earlier frame.
        payload: the packet, opaque.
    """

    sequence: int
    captured_us: int
    arrived_us: int
    key: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class RecordedState:
    """A codec's state after a frame, with which it decodes the packets behind.

    Args:
        sequence: of the frame.
        data: opaque (`FrameCodec.snapshot`).
    """

    sequence: int
    data: bytes


Record = RecordedFrame | RecordedState


def encode_records(records: Sequence[Record]) -> bytes:
    """The content of a block of frames. Raises ValueError if there are too many records, or one is too large."""
    if len(records) > MAX_RECORDS or any(len(_data(record)) > MAX_RECORD_BYTES for record in records):
        raise ValueError(f"a block has up to {MAX_RECORDS} records of up to {MAX_RECORD_BYTES} bytes")
    metadata = bytearray()
    append_varint(metadata, len(records))
    sequence = captured_us = arrived_us = 0
    for record in records:
        append_varint(metadata, _kind(record))
        append_signed(metadata, record.sequence - sequence)
        sequence = record.sequence
        if isinstance(record, RecordedFrame):
            append_signed(metadata, record.captured_us - captured_us)
            append_signed(metadata, record.arrived_us - arrived_us)
            captured_us, arrived_us = record.captured_us, record.arrived_us
        append_varint(metadata, len(_data(record)))
    return bytes(metadata) + b"".join(map(_data, records))


def decode_records(content: bytes) -> list[Record]:
    """The inverse of `encode_records`, for untrusted bytes. Raises RecordingError if the content is inconsistent."""
    reader = VarintReader(content)
    heads = _heads(reader)
    sizes = [size for *_, size in heads]
    if sum(sizes) != len(content) - reader.position:
        raise RecordingError("a block has another size than its records")
    records: list[Record] = []
    for kind, sequence, captured_us, arrived_us, size in heads:
        data = reader.take(size)
        if kind is RecordKind.STATE:
            records.append(RecordedState(sequence, data))
        else:
            records.append(RecordedFrame(sequence, captured_us, arrived_us, kind is RecordKind.KEY_FRAME, data))
    return records


def first_captured_us(content: bytes) -> int | None:
    """The capture time of the first frame among the first bytes of a block; None if they contain no frame.

    Raises:
        RecordingError: the content is inconsistent.
    """
    heads = _heads(VarintReader(content), until_frame=True)
    return heads[-1][2] if heads and heads[-1][0] is not RecordKind.STATE else None


def _heads(reader: VarintReader, *, until_frame: bool = False) -> list[tuple[RecordKind, int, int, int, int]]:
    """Kind, sequence, capture time, arrival time and size of each record, or of those up to the first frame."""
    count = reader.varint()
    if not 1 <= count <= MAX_RECORDS:
        raise RecordingError(f"a block announces {count} records")
    heads: list[tuple[RecordKind, int, int, int, int]] = []
    sequence = captured_us = arrived_us = 0
    for _ in range(count):
        number = reader.varint()
        if number not in list(RecordKind):
            raise RecordingError("a block has a record of an unknown kind")
        kind = RecordKind(number)
        sequence += reader.signed()
        if kind is not RecordKind.STATE:
            captured_us += reader.signed()
            arrived_us += reader.signed()
        size = reader.varint()
        in_range = all(0 <= value <= _MAX_TIME_US for value in (sequence, captured_us, arrived_us))
        if not in_range or size > MAX_RECORD_BYTES:
            raise RecordingError("a record has a number that is out of range")
        heads.append((kind, sequence, captured_us, arrived_us, size))
        if until_frame and kind is not RecordKind.STATE:
            break
    return heads


def encode_blob(blob: Blob) -> bytes:
    """The content of a blob's block."""
    kind = blob.kind.encode()[:255]
    return bytes([len(kind)]) + kind + _KEY.pack(blob.key) + blob.data


def decode_blob(content: bytes) -> Blob:
    """The inverse of `encode_blob`, for untrusted bytes; of the first bytes of a block, a blob with a part of its data.

    Raises:
        RecordingError: the content is inconsistent.
    """
    reader = VarintReader(content)
    try:
        kind = reader.take(reader.take(1)[0]).decode()
    except UnicodeDecodeError as error:
        raise RecordingError("a blob's kind is not UTF-8") from error
    (key,) = _KEY.unpack(reader.take(_KEY.size))
    return Blob(kind, key, content[reader.position :])


def _kind(record: Record) -> RecordKind:
    if isinstance(record, RecordedState):
        return RecordKind.STATE
    return RecordKind.KEY_FRAME if record.key else RecordKind.FRAME


def _data(record: Record) -> bytes:
    return record.data if isinstance(record, RecordedState) else record.payload
