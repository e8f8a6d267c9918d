"""Reads a recording: what is in it, and its records from any time on. One block is in memory at a time."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from common.blobs import Blob
from common.errors import RecordingError
from common.io.regular_file import open_regular
from common.recording.block import (
    ENTRY_POINT,
    HEAD,
    MAGIC,
    TRAILER,
    BlockHead,
    BlockKind,
    parse_trailer,
)
from common.recording.facts import RecordingFacts, parse_facts
from common.recording.index import BlockEntry, decode_index
from common.recording.position import format_position
from common.recording.records import (
    BLOB_PREFIX_BYTES,
    Record,
    RecordedFrame,
    decode_blob,
    decode_records,
    first_captured_us,
)

_Content = TypeVar("_Content")

# More than the colours and the texture tiles of 256 people take.
_MAX_LATEST_BLOBS: Final = 20_000


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


class Recording:
    """An open recording; a context manager.

    Args:
        path: the file, which may still be written: what is appended later is not read.

    Raises:
        RecordingError: here and in every method: the file is no recording, or is damaged, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_regular(path, follow_links=True)
        except OSError as error:
            raise RecordingError(f"cannot open the recording {path}: {error.strerror}") from error
        try:
            self._open()
        except RecordingError as error:
            self.close()
            raise RecordingError(f"{path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        self._file.close()

    @property
    def facts(self) -> RecordingFacts:
        """What is true of the whole recording."""
        return self._facts

    @property
    def whole(self) -> bool:
        """False if its writer was killed or the file was cut: it ends behind the last whole block."""
        return self._blocks.whole

    @property
    def blocks(self) -> int:
        """Number of its blocks of frames and blobs."""
        return len(self._blocks.entries)

    @property
    def began_us(self) -> int:
        """Capture time of the first frame; 0 without frames."""
        return self._frames[0].time_us if self._frames else 0

    @property
    def duration_us(self) -> int:
        """Capture time of the last frame after `began_us`."""
        if not self._frames:
            return 0
        times_us = [each.captured_us for each in self._records_of(self._frames[-1]) if isinstance(each, RecordedFrame)]
        return max(*times_us, self.began_us) - self.began_us

    def check(self, codec: int, model: str) -> None:
        """Checks that this installation decodes the recording.

        Raises:
            RecordingError: it has another codec or other networks.
        """
        try:
            self._facts.check(codec, model)
        except RecordingError as error:
            raise RecordingError(f"{self.path}: {error}") from error

    def read(self, position_us: int = 0) -> Iterator[Record | Blob]:
        """The records and blobs in order, from the last entry point before a position on.

        The newest blob of each kind and key before the entry point comes first.

        Args:
            position_us: after `began_us`.
        """
        start = self._entry_point(self.began_us + position_us)
        if start is None:
            return
        newest = {entry.blob: entry for entry in self._blocks.entries[:start] if entry.blob is not None}
        if len(newest) > _MAX_LATEST_BLOBS:
            raise RecordingError(f"{self.path} has {len(newest)} blobs of different keys: it is damaged")
        for entry in newest.values():
            yield self._blob_of(entry)
        for entry in self._blocks.entries[start:]:
            if entry.kind is BlockKind.BLOB:
                yield self._blob_of(entry)
            else:
                yield from self._records_of(entry)

    def _open(self) -> None:
        file = BlockFile(self._file.fileno(), os.fstat(self._file.fileno()).st_size)
        magic = file.read(0, len(MAGIC))
        if magic[:-1] != MAGIC[:-1]:
            raise RecordingError("it is no Bodywire recording")
        if magic != MAGIC:
            raise RecordingError("its format is newer than this installation: update Bodywire")
        head, content = file.block(len(MAGIC))
        if head.kind is not BlockKind.FACTS:
            raise RecordingError("its first block is not that of a recording")
        self._facts: RecordingFacts = parse_facts(content)
        self._blocks: Blocks = find_blocks(file, len(MAGIC) + HEAD.size + head.stored_bytes)
        self._frames = [entry for entry in self._blocks.entries if entry.kind is BlockKind.FRAMES]
        self._block_file = file

    def _entry_point(self, time_us: int) -> int | None:
        """The last entry point before the first frame after a time; None if there is none at all."""
        found = None
        for number, entry in enumerate(self._blocks.entries):
            if entry.entry_point:
                if found is not None and entry.time_us > time_us:
                    break
                found = number
        return found

    def _records_of(self, entry: BlockEntry) -> list[Record]:
        return self._decoded(entry, decode_records)

    def _blob_of(self, entry: BlockEntry) -> Blob:
        return self._decoded(entry, decode_blob)

    def _decoded(self, entry: BlockEntry, decode: Callable[[bytes], _Content]) -> _Content:
        try:
            head, content = self._block_file.block(entry.offset)
            if head.kind is not entry.kind:
                raise RecordingError("its index is damaged")
            return decode(content)
        except RecordingError as error:
            at = format_position(max(entry.time_us - self.began_us, 0))
            raise RecordingError(
                f"{self.path} is damaged at {at} (byte {entry.offset}): {error}; it plays up to there, and from any "
                "time behind it"
            ) from error
