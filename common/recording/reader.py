"""Reads a recording: what is in it, and its records from any time on. One block is in memory at a time."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self, TypeVar

from common.blobs import Blob
from common.clock import BridgedTimes
from common.errors import RecordingError
from common.io.files import open_regular
from common.recording.format import (
    HEAD,
    MAGIC,
    Block,
    BlockKind,
    Record,
    RecordedFrame,
    decode_blob,
    decode_records,
    parse_facts,
)

_Content = TypeVar("_Content")

# More than the colours and the texture tiles of 256 people take.
_MAX_LATEST_BLOBS: Final = 20_000
_MAX_BLOCKS: Final = 2_000_000
# From one block to the next, until two are known.
_INTERVAL_S: Final = 1 / 30
_OF_FRAMES: Final = (BlockKind.FRAMES, BlockKind.ENTRY_POINT)


class Recording:
    """An open recording; a context manager.

    Args:
        path: the file, which may still be written: what is appended later is not read.

    Attributes:
        facts: what is true of the whole recording.
        blocks: of frames and blobs, in the order of the file, up to the first that is not whole.

    Raises:
        RecordingError: here and in every method: the file is no recording, or is damaged, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shifts_us: dict[int, int] = {}
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
    def whole(self) -> bool:
        """False if something follows the last whole block: the file was cut, its writer was killed, or still writes."""
        return self.end_of(len(self.blocks)) == self._size

    def end_of(self, blocks: int) -> int:
        """Size of the file up to the end of so many of its blocks."""
        return self.blocks[blocks - 1].end if blocks else self._first_offset

    @property
    def began_us(self) -> int:
        """Capture time of the first frame; 0 without frames."""
        return self._frames[0].time_us if self._frames else 0

    @property
    def duration_us(self) -> int:
        """Capture time of the last frame after `began_us`."""
        if not self._frames:
            return 0
        times_us = [each.captured_us for each in self.records_of(self._frames[-1]) if isinstance(each, RecordedFrame)]
        return max([*times_us, self.began_us]) - self.began_us

    def check(self, codec: int, model: str) -> None:
        """Checks that this installation decodes the recording.

        Raises:
            RecordingError: it has another codec or other networks.
        """
        facts = self.facts
        if facts.recorded_by == "spool":
            remedy = "sender --delivery complete --spool delivers its frames"
            raise RecordingError(f"{self.path}: it is part of a spool: {remedy}")
        if (facts.codec, facts.model) != (codec, model):
            raise RecordingError(
                f"{self.path}: it was recorded with codec version {facts.codec} and networks {facts.model}; this "
                f"installation has codec version {codec} and networks {model}: replay it with Bodywire "
                f"{facts.version}, which recorded it"
            )

    def read(self, position_us: int = 0) -> Iterator[Record | Blob]:
        """The records and blobs in order, from the last entry point before a position on.

        The newest blob of each kind and key before the entry point comes first.

        Args:
            position_us: after `began_us`.
        """
        start = self._entry_point(self.began_us + position_us)
        if start is None:
            return
        yield from self._newest_blobs(self.blocks[:start])
        for block in self.blocks[start:]:
            if block.kind is BlockKind.BLOB:
                yield self._decoded(block, decode_blob)
            else:
                yield from self.records_of(block)

    def _newest_blobs(self, blocks: Sequence[Block]) -> Iterator[Blob]:
        """The newest blob of each kind and key in some blocks."""
        newest: dict[tuple[str, int], Block] = {}
        for block in blocks:
            if block.kind is BlockKind.BLOB:
                blob = self._decoded(block, decode_blob)
                newest[blob.kind, blob.key] = block
        if len(newest) > _MAX_LATEST_BLOBS:
            raise RecordingError(f"{self.path} has {len(newest)} blobs of different keys: it is damaged")
        for block in newest.values():
            yield self._decoded(block, decode_blob)

    def _open(self) -> None:
        self._size = os.fstat(self._file.fileno()).st_size
        magic = self._read(0, len(MAGIC))
        if magic[:-1] != MAGIC[:-1]:
            raise RecordingError("it is no Bodywire recording")
        if magic != MAGIC:
            raise RecordingError(
                f"its format is version {magic[-1]}, not {MAGIC[-1]}: use the version that recorded it"
            )
        first = self._block_at(len(MAGIC))
        if first.kind is not BlockKind.FACTS:
            raise RecordingError("its first block is not that of a recording")
        self.facts = parse_facts(self._content(first))
        self._first_offset = first.end
        self.blocks = self._find_blocks(first.end)
        self._frames = [block for block in self.blocks if block.kind in _OF_FRAMES]
        # Writers begin another block where a clock was set.
        times = BridgedTimes(_INTERVAL_S)
        for block in self._frames:
            times.following(block.time_us / 1e6)
            self._shifts_us[block.offset] = round(times.shift_s * 1e6)

    def _find_blocks(self, offset: int) -> list[Block]:
        """The blocks from an offset up to the first that is not whole."""
        blocks: list[Block] = []
        with contextlib.suppress(RecordingError):
            while offset < self._size and len(blocks) < _MAX_BLOCKS:
                block = self._block_at(offset)
                if block.kind is BlockKind.FACTS:
                    break
                blocks.append(block)
                offset = block.end
        try:
            if blocks:
                self._content(blocks[-1])
        except RecordingError:
            # Its size was written before a loss of power, and its content was not.
            blocks.pop()
        return blocks

    def _block_at(self, offset: int) -> Block:
        block = Block.parse(offset, self._read(offset, HEAD.size))
        if block.end > self._size:
            raise RecordingError("a block is cut")
        return block

    def _content(self, block: Block) -> bytes:
        return block.content(self._read(block.offset + HEAD.size, block.stored_bytes))

    def _read(self, offset: int, count: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), max(min(count, self._size - offset), 0), offset)
        except OSError as error:
            raise RecordingError(f"it cannot be read ({error.strerror})") from error

    def _entry_point(self, time_us: int) -> int | None:
        """The last entry point before the first frame after a time; None if there is none at all."""
        found = None
        for number, block in enumerate(self.blocks):
            if block.kind is BlockKind.ENTRY_POINT:
                if found is not None and self._time_us(block) > time_us:
                    break
                found = number
        return found

    def records_of(self, block: Block) -> list[Record]:
        """The records of a block of frames."""
        records, shift_us = self._decoded(block, decode_records), self._shifts_us[block.offset]
        if not shift_us:
            return records
        return [
            replace(each, captured_us=each.captured_us + shift_us) if isinstance(each, RecordedFrame) else each
            for each in records
        ]

    def _time_us(self, block: Block) -> int:
        """Its time on the sender's clock as it was when the recording began."""
        return block.time_us + self._shifts_us.get(block.offset, 0)

    def _decoded(self, block: Block, decode: Callable[[bytes], _Content]) -> _Content:
        try:
            return decode(self._content(block))
        except RecordingError as error:
            after_s = max(self._time_us(block) - self.began_us, 0) / 1e6
            raise RecordingError(
                f"{self.path} is damaged after {after_s:.1f} s (byte {block.offset}): {error}; it plays up to there, "
                "and from any time behind it"
            ) from error
