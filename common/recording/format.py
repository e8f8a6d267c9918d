"""The format of a recording: blocks with a time, size and CRC-32, the facts of the whole, and records of frames.

Every size is checked against a limit and against the zstandard frame's own header before anything
is decompressed, so a small file cannot make the reader allocate much memory.

The content of blocks of frames and of blobs.

    frames   number of records │ a column of each number of the records │ data of each record
    record   kind · sequence · capture time · size of the data
    bundle   number of earlier frames 1 B · steps from each frame to the next 1 B │ packet
    blob     kind (1 B of length, UTF-8) · key 4 B │ data

A column has the differences from record to record, as 64-bit numbers: first the lowest byte of each, then the next
ones, because these compress.
"""

import enum
import itertools
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, Self, get_args

import numpy as np
import zstandard

from common.blobs import Blob
from common.errors import RecordingError

MAGIC: Final = b"\x93BODYWIRE\x03"
"""The first bytes of a recording; the last one is the version of the format."""
HEAD: Final = struct.Struct("<BqII")
_LEVEL: Final = 9
_CRC: Final = struct.Struct("<I")
_MAX_WINDOW_BYTES: Final = 1 << 23


class BlockKind(enum.IntEnum):
    """What a block contains."""

    FACTS = 1
    FRAMES = 2
    ENTRY_POINT = 3
    """Frames, from which decoding can begin."""
    BLOB = 4


MAX_CONTENT_BYTES: Final = 1 << 25
"""Largest size of a block's content."""
# The most that zstandard makes of it.
_MAX_STORED_BYTES: Final = MAX_CONTENT_BYTES + (MAX_CONTENT_BYTES >> 8) + 1024


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block is in the file, and its head.

    Args:
        kind: what the block contains.
        time_us: capture time of its first frame; of a blob, that of the block before it (0 before the first).
        stored_bytes: size of the zstandard frame.
        checksum: CRC-32 of the fields above and the zstandard frame.
    """

    offset: int
    kind: BlockKind
    time_us: int
    stored_bytes: int
    checksum: int

    @property
    def end(self) -> int:
        """The offset of the next block."""
        return self.offset + HEAD.size + self.stored_bytes

    @classmethod
    def parse(cls, offset: int, head: bytes) -> Self:
        """Parses and checks a head.

        Raises:
            RecordingError: it is cut, of an unknown kind, or announces more than it may have.
        """
        if len(head) < HEAD.size:
            raise RecordingError("a block is cut")
        number, time_us, stored_bytes, checksum = HEAD.unpack(head)
        if number not in list(BlockKind):
            raise RecordingError("a block is of an unknown kind")
        if stored_bytes > _MAX_STORED_BYTES:
            raise RecordingError(f"a block announces {stored_bytes} bytes, more than it may have")
        return cls(offset, BlockKind(number), time_us, stored_bytes, checksum)

    def content(self, stored: bytes) -> bytes:
        """Checks and decompresses the zstandard frame.

        Raises:
            RecordingError: the block is cut, damaged or forged.
        """
        if len(stored) < self.stored_bytes:
            raise RecordingError("a block is cut")
        if _checksum(HEAD.pack(self.kind, self.time_us, self.stored_bytes, 0), stored) != self.checksum:
            raise RecordingError("a block is damaged")
        try:
            frame = zstandard.get_frame_parameters(stored)
            if frame.content_size > MAX_CONTENT_BYTES or frame.window_size > _MAX_WINDOW_BYTES:
                raise RecordingError("a block has more content than it may have")
            # It stops at the announced size, whatever the frame contains.
            return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompress(stored)
        except zstandard.ZstdError as error:
            raise RecordingError("a block does not decompress") from error


def encode_block(kind: BlockKind, content: bytes, time_us: int = 0) -> bytes:
    """A whole block. Raises ValueError if the content is larger than a block's may be."""
    if len(content) > MAX_CONTENT_BYTES:
        raise ValueError(f"a block of {len(content)} bytes; it may have {MAX_CONTENT_BYTES}")
    stored = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
    head = HEAD.pack(kind, time_us, len(stored), 0)
    return head[: -_CRC.size] + _CRC.pack(_checksum(head, stored)) + stored


def _checksum(head: bytes, stored: bytes) -> int:
    return zlib.crc32(stored, zlib.crc32(head[: -_CRC.size]))


MAX_TEXT_CHARACTERS = 256
_MAX_BYTES = 1 << 16
RecordedBy = Literal["sender", "receiver", "spool"]


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """What is true of a whole recording.

    Args:
        codec: version of the codec that decodes its packets.
        model: hash of the networks that its labels belong to, hexadecimal (`model_hash`).
        recorded_by: the end that recorded it, or the spool of a sender, whose packets are lossless label frames.
        version: of the package that recorded it.
        live: the sender dropped stale frames.
        session: what a spool remembers of its session; empty elsewhere.
        timely: no filter delayed the labels; not in older recordings, whose labels are delayed.
    """

    codec: int
    model: str
    recorded_by: RecordedBy
    version: str
    sender: str
    live: bool
    session: Mapping[str, str] = field(default_factory=dict)
    timely: bool = False

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()


def parse_facts(content: bytes) -> RecordingFacts:
    """The inverse of `RecordingFacts.encode`, for untrusted bytes.

    Raises:
        RecordingError: a fact is missing or of another type.
    """
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(len(content))
        document = json.loads(content)
        session = document["session"]
        texts = all(isinstance(each, str) for each in session.values())
        if document["recorded_by"] not in get_args(RecordedBy) or not texts:
            raise ValueError(document)
        return RecordingFacts(
            codec=int(document["codec"]),
            model=_text(document["model"]),
            recorded_by=document["recorded_by"],
            version=_text(document["version"]),
            sender=_text(document["sender"]),
            live=bool(document["live"]),
            session=session,
            timely=bool(document.get("timely", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RecordingError("its first block is not that of a recording") from error


def _text(value: object) -> str:
    """Printable text of a bounded length; raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or not value.isprintable():
        raise ValueError(value)
    return value


MAX_RECORDS: Final = 4096
"""Most records of a block."""
MAX_RECORD_BYTES: Final = 1 << 24
"""More than the states of a codec take that remembers as many frames and people as it can."""
_COUNT: Final = struct.Struct("<I")
_KEY: Final = struct.Struct("<I")
_COLUMN: Final = np.dtype("<i8")
# Sequences, and microseconds since the epoch until the year 2255.
_MAX_NUMBER: Final = 1 << 53


class RecordKind(enum.IntEnum):
    """What a record's data are."""

    FRAME = 0
    KEY_FRAME = 1
    STATE = 2
    BUNDLE = 3
    KEY_BUNDLE = 4


# Of kind, sequence, capture time and size, of which none is below 0.
_MOST: Final = np.array([max(RecordKind), _MAX_NUMBER, _MAX_NUMBER, MAX_RECORD_BYTES], _COLUMN)
_COLUMNS: Final = len(_MOST)
_BUNDLES: Final = (RecordKind.BUNDLE, RecordKind.KEY_BUNDLE)
_KEYS: Final = (RecordKind.KEY_FRAME, RecordKind.KEY_BUNDLE)


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One packet.

    Args:
        sequence: of the frame, or of the last one of a bundle.
        captured_us: its capture, microseconds since the epoch on the sender's clock.
        key: it decodes without any earlier frame.
        payload: the packet, opaque.
        earlier: numbers of the other frames of a bundle, each within 255 of the next.
    """

    sequence: int
    captured_us: int
    key: bool
    payload: bytes
    earlier: tuple[int, ...] = ()


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
    rows = np.array([_row(record) for record in records], _COLUMN)
    differences = np.diff(rows, axis=0, prepend=0)
    planes = differences.T.copy().view(np.uint8).reshape(_COLUMNS, len(records), _COLUMN.itemsize).swapaxes(1, 2)
    return _COUNT.pack(len(records)) + planes.tobytes() + b"".join(map(_data, records))


def decode_records(content: bytes) -> list[Record]:
    """The inverse of `encode_records`, for untrusted bytes. Raises RecordingError if the content is inconsistent."""
    count = _COUNT.unpack_from(content)[0] if len(content) >= _COUNT.size else 0
    at = _COUNT.size + _COLUMNS * count * _COLUMN.itemsize
    if not 1 <= count <= MAX_RECORDS or at > len(content):
        raise RecordingError("a block has another number of records than it announces")
    planes = np.frombuffer(content[_COUNT.size : at], np.uint8).reshape(_COLUMNS, _COLUMN.itemsize, count)
    differences = planes.swapaxes(1, 2).copy().view(_COLUMN)[..., 0]
    rows = np.cumsum(differences, axis=1).T
    if (rows < 0).any() or (rows > _MOST).any():
        raise RecordingError("a record has a number that is out of range")
    if rows[:, -1].sum() != len(content) - at:
        raise RecordingError("a block has another size than its records")
    records: list[Record] = []
    for kind, sequence, captured_us, size in rows.tolist():
        data, at = content[at : at + size], at + size
        if kind == RecordKind.STATE:
            records.append(RecordedState(sequence, data))
        else:
            earlier, payload = _earlier(sequence, data) if kind in _BUNDLES else ((), data)
            records.append(RecordedFrame(sequence, captured_us, kind in _KEYS, payload, earlier))
    return records


def _earlier(sequence: int, data: bytes) -> tuple[tuple[int, ...], bytes]:
    """The other frames of a bundle, and the packet. Raises RecordingError if the data do not have them."""
    steps = data[1 : 1 + data[0]] if data else b""
    if not steps or len(steps) != data[0] or 0 in steps or sum(steps) > sequence:
        raise RecordingError("a bundle does not have its frames")
    *earlier, _ = itertools.accumulate(steps, initial=sequence - sum(steps))
    return tuple(earlier), data[1 + len(steps) :]


def _row(record: Record) -> tuple[int, int, int, int]:
    """Kind, sequence, capture time and size of a record."""
    if isinstance(record, RecordedState):
        return RecordKind.STATE, record.sequence, 0, len(record.data)
    kind = (RecordKind.KEY_BUNDLE if record.key else RecordKind.BUNDLE) if record.earlier else RecordKind(record.key)
    return kind, record.sequence, record.captured_us, len(_data(record))


def _data(record: Record) -> bytes:
    if isinstance(record, RecordedState):
        return record.data
    steps = bytes(after - before for before, after in itertools.pairwise((*record.earlier, record.sequence)))
    return bytes([len(steps)]) + steps + record.payload if steps else record.payload


def encode_blob(blob: Blob) -> bytes:
    """The content of a blob's block."""
    kind = blob.kind.encode()[:255]
    return bytes([len(kind)]) + kind + _KEY.pack(blob.key) + blob.data


def decode_blob(content: bytes) -> Blob:
    """The inverse of `encode_blob`, for untrusted bytes. Raises RecordingError if the content is inconsistent."""
    try:
        end = 1 + content[0]
        (key,) = _KEY.unpack_from(content, end)
        return Blob(content[1:end].decode(), key, content[end + _KEY.size :])
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise RecordingError("a block is no blob") from error
