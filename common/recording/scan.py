"""Finds the blocks of a recording: from its index, or block by block when it has none."""

import logging
import os
from dataclasses import dataclass
from typing import Final

from common.errors import RecordingError
from common.recording.block import (
    ENTRY_POINT,
    HEAD,
    MAGIC,
    TRAILER,
    BlockHead,
    BlockKind,
    parse_trailer,
)
from common.recording.index import BlockEntry, decode_index
from common.recording.records import BLOB_PREFIX_BYTES, decode_blob, first_captured_us

logger = logging.getLogger(__name__)

_MAX_BLOCKS: Final = 2_000_000
# The first frame is behind the metadata of at most one state, and the metadata of a record take up to 32 bytes.
_FIRST_FRAME_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class BlockFile:
    """An open file of blocks.

    Args:
        file: its descriptor.
        size: its size in bytes when it was opened; what is appended later is not read.

    Raises:
        RecordingError: in every method: the file cannot be read, or a block is cut, damaged or forged.
    """

    file: int
    size: int

    def head(self, offset: int) -> BlockHead:
        """The head of the block at an offset."""
        head = BlockHead.parse(self.read(offset, HEAD.size))
        if offset + HEAD.size + head.stored_bytes > self.size:
            raise RecordingError("a block is cut")
        return head

    def block(self, offset: int, first_bytes: int | None = None) -> tuple[BlockHead, bytes]:
        """Head and content of the block at an offset.

        Args:
            first_bytes: decompress only so many of the content's first bytes.
        """
        head = self.head(offset)
        stored = self.read(offset + HEAD.size, head.stored_bytes)
        head.check(stored)
        return head, head.content(stored, first_bytes)

    def read(self, offset: int, count: int) -> bytes:
        """Up to so many bytes from an offset."""
        try:
            return os.pread(self.file, max(min(count, self.size - offset), 0), offset)
        except OSError as error:
            raise RecordingError(f"it cannot be read ({error.strerror})") from error


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a recording.

    Args:
        entries: in the order of the file.
        whole: False if the file ends behind its last whole block: its writer was killed, or the file was cut.
    """

    entries: list[BlockEntry]
    whole: bool


def find_blocks(file: BlockFile, first: int) -> Blocks:
    """All blocks of frames and blobs."""
    try:
        entries = _from_index(file)
    except RecordingError:
        entries = None
    return Blocks(entries, whole=True) if entries is not None else _scan(file, first)


def _from_index(file: BlockFile) -> list[BlockEntry] | None:
    """The blocks in the index; None if the file does not end with one."""
    offset = parse_trailer(file.read(file.size - TRAILER.size, TRAILER.size))
    if offset is None or not len(MAGIC) <= offset < file.size:
        return None
    head = file.head(offset)
    if head.kind is not BlockKind.INDEX or offset + HEAD.size + head.stored_bytes + TRAILER.size != file.size:
        return None
    return decode_index(file.block(offset)[1], offset)


def _scan(file: BlockFile, offset: int) -> Blocks:
    """The blocks up to the first that is not whole; reads the file once."""
    entries: list[BlockEntry] = []
    time_us = 0
    try:
        while offset < file.size and len(entries) < _MAX_BLOCKS:
            head = file.head(offset)
            if head.kind is BlockKind.INDEX:
                break
            entry = _entry(file, offset, time_us)
            time_us = entry.time_us
            entries.append(entry)
            offset += HEAD.size + head.stored_bytes
    except RecordingError as error:
        logger.debug("at byte %d: %s", offset, error)
    return Blocks(entries, whole=False)


def _entry(file: BlockFile, offset: int, time_us: int) -> BlockEntry:
    """The entry of a block, of which only the first bytes are decompressed."""
    head = file.head(offset)
    if head.kind is BlockKind.BLOB:
        blob = decode_blob(file.block(offset, BLOB_PREFIX_BYTES)[1])
        return BlockEntry(offset, time_us, head.kind, blob=(blob.kind, blob.key))
    if head.kind is not BlockKind.FRAMES:
        raise RecordingError("a block is of an unknown kind")
    first_us = first_captured_us(file.block(offset, _FIRST_FRAME_BYTES)[1])
    if first_us is None:
        raise RecordingError("a block has no frame")
    return BlockEntry(offset, first_us, head.kind, bool(head.flags & ENTRY_POINT))
