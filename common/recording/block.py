"""Blocks of a recording: a head with a time, the size and a CRC-32, and a zstandard frame.

Every size is checked against a limit and against the zstandard frame's own header before anything
is decompressed, so a small file cannot make the reader allocate much memory.
"""

import enum
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Self

import zstandard

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
