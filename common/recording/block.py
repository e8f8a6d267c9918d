"""Blocks of a recording: a head with sizes and a CRC-32, and a zstandard frame.

Every size is checked against the limit of the block's kind and against the zstandard frame's own header before anything
is decompressed, so a small file cannot make the reader allocate much memory.
"""

import enum
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Self

import zstandard

from common.errors import RecordingError

MAGIC: Final = b"\x93BODYWIRE\x01"
"""The first bytes of a recording; the last one is the version of the format."""
HEAD: Final = struct.Struct("<BBIII")
TRAILER: Final = struct.Struct("<QI4s")
TRAILER_MAGIC: Final = b"BWIX"
ENTRY_POINT: Final = 1
"""Flag of a block at which decoding can begin."""
_LEVEL: Final = 9
_CRC: Final = struct.Struct("<I")
_MAX_WINDOW_BYTES: Final = 1 << 23


class BlockKind(enum.IntEnum):
    """What a block contains."""

    FACTS = 1
    FRAMES = 2
    BLOB = 3
    INDEX = 4


MAX_RAW_BYTES: Final = {
    BlockKind.FACTS: 1 << 16,
    BlockKind.FRAMES: 1 << 21,
    BlockKind.BLOB: (1 << 20) + 256,
    BlockKind.INDEX: 1 << 25,
}
"""Largest size of a block's content, by kind."""


@dataclass(frozen=True, slots=True)
class BlockHead:
    """The checked head of a block.

    Args:
        kind: what the block contains.
        flags: `ENTRY_POINT` or 0.
        stored_bytes: size of the zstandard frame.
        raw_bytes: size of its content.
        checksum: CRC-32 of the fields above and the zstandard frame.

    Raises:
        RecordingError: in every method: the block is cut, damaged or forged.
    """

    kind: BlockKind
    flags: int
    stored_bytes: int
    raw_bytes: int
    checksum: int

    @classmethod
    def parse(cls, head: bytes) -> Self:
        """Parses and checks a head.

        Raises:
            RecordingError: it is cut, of an unknown kind, or announces more than its kind may have.
        """
        if len(head) < HEAD.size:
            raise RecordingError("a block is cut")
        number, flags, stored, raw, checksum = HEAD.unpack(head)
        if number not in list(BlockKind) or flags & ~ENTRY_POINT:
            raise RecordingError("a block is of an unknown kind")
        kind = BlockKind(number)
        if raw > MAX_RAW_BYTES[kind] or stored > _compress_bound(raw):
            raise RecordingError(f"a block announces {raw} bytes in {stored}, more than it may have")
        return cls(kind, flags, stored, raw, checksum)

    def check(self, stored: bytes) -> None:
        """Checks the CRC-32, and that the zstandard frame has the announced size."""
        if len(stored) < self.stored_bytes:
            raise RecordingError("a block is cut")
        if _checksum(HEAD.pack(self.kind, self.flags, self.stored_bytes, self.raw_bytes, 0), stored) != self.checksum:
            raise RecordingError("a block is damaged")
        try:
            frame = zstandard.get_frame_parameters(stored)
        except zstandard.ZstdError as error:
            raise RecordingError("a block is no zstandard frame") from error
        if frame.content_size != self.raw_bytes or frame.window_size > _MAX_WINDOW_BYTES or frame.dict_id:
            raise RecordingError("a block has another size than it announces")

    def content(self, stored: bytes, first_bytes: int | None = None) -> bytes:
        """Decompresses a block after `check`.

        Args:
            stored: the zstandard frame.
            first_bytes: only so many of the content's first bytes; None for all of it.
        """
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        wanted = self.raw_bytes if first_bytes is None else min(first_bytes, self.raw_bytes)
        try:
            with decompressor.stream_reader(stored) as reader:
                content = _read_exactly(reader, wanted)
        except zstandard.ZstdError as error:
            raise RecordingError("a block does not decompress") from error
        if len(content) != wanted:
            raise RecordingError("a block has another size than it announces")
        return content


def _read_exactly(reader: zstandard.ZstdDecompressionReader, count: int) -> bytes:
    """Up to `count` bytes: never more, whatever the frame contains."""
    parts = bytearray()
    while len(parts) < count and (part := reader.read(count - len(parts))):
        parts += part
    return bytes(parts)


def encode_block(kind: BlockKind, content: bytes, flags: int = 0) -> bytes:
    """A whole block. Raises ValueError if the content exceeds the limit of its kind."""
    if len(content) > MAX_RAW_BYTES[kind]:
        raise ValueError(f"a block of {len(content)} bytes; its kind has up to {MAX_RAW_BYTES[kind]}")
    stored = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
    head = HEAD.pack(kind, flags, len(stored), len(content), 0)
    return head[: -_CRC.size] + _CRC.pack(_checksum(head, stored)) + stored


def encode_trailer(index_offset: int) -> bytes:
    """The last bytes of a file that has an index."""
    offset = struct.pack("<Q", index_offset)
    return TRAILER.pack(index_offset, zlib.crc32(offset), TRAILER_MAGIC)


def parse_trailer(data: bytes) -> int | None:
    """The index's offset; None if the file does not end with a trailer."""
    if len(data) < TRAILER.size:
        return None
    offset, checksum, magic = TRAILER.unpack(data)
    return offset if magic == TRAILER_MAGIC and checksum == zlib.crc32(struct.pack("<Q", offset)) else None


def _checksum(head: bytes, stored: bytes) -> int:
    return zlib.crc32(stored, zlib.crc32(head[: -_CRC.size]))


def _compress_bound(raw_bytes: int) -> int:
    """The most that zstandard makes of so many bytes."""
    return raw_bytes + (raw_bytes >> 8) + 1024
