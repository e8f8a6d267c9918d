"""Writes a recording: appends whole blocks, and the index at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from common.blobs import Blob
from common.errors import OutputError
from common.io.append_file import AppendFile
from common.recording.block import ENTRY_POINT, MAGIC, BlockKind, encode_block, encode_trailer
from common.recording.facts import RecordingFacts
from common.recording.index import BlockEntry, encode_index
from common.recording.records import Record, RecordedFrame, RecordedState, encode_blob, encode_records

_BLOCK_US: Final = 1_000_000
_BLOCK_BYTES: Final = 1 << 18
_BLOCK_RECORDS: Final = 1024


class RecordingWriter:
    """Writes one file; used by one thread at a time.

    After an `OutputError` of any method only `close` may be called: the blocks before are whole.

    Args:
        path: must not exist; readable by its owner alone.

    Raises:
        OutputError: the file exists, or cannot be created or written.
    """

    def __init__(self, path: Path, facts: RecordingFacts) -> None:
        self.path = path
        self.frames = 0
        self._entries: list[BlockEntry] = []
        self._records: list[Record] = []
        self._record_bytes = 0
        self._entry_point = False
        self._failed = self._closed = False
        self._began_us: int | None = None
        try:
            self._file = AppendFile(path)
        except FileExistsError:
            raise OutputError(f"{path} exists: remove it, or give the recording another name") from None
        except OSError as error:
            raise OutputError(f"cannot create the recording {path}: {error.strerror}") from error
        try:
            self._write(MAGIC + encode_block(BlockKind.FACTS, facts.encode()))
        except OutputError:
            self.close()
            raise

    @property
    def bytes_written(self) -> int:
        """Size of the file."""
        return self._file.size_bytes

    def add_frame(self, frame: RecordedFrame, *, entry_point: bool = False) -> None:
        """Adds a packet.

        Args:
            entry_point: decoding can begin here: `frame` is a key frame, or states for it were added since
                `begin_entry_point`.
        """
        if entry_point and frame.key:
            self.begin_entry_point()
        if self._is_full(frame.captured_us):
            self.flush()
        if self._began_us is None:
            self._began_us = frame.captured_us
        self._add(frame, len(frame.payload))
        self.frames += 1

    def begin_entry_point(self) -> None:
        """Begins a block at which decoding can begin; its states follow."""
        self.flush()
        self._entry_point = True

    def add_state(self, state: RecordedState) -> None:
        """Adds a state that packets behind it are predicted from."""
        self._add(state, len(state.data))

    def add_blob(self, blob: Blob) -> None:
        """Adds a blob, which counts for the frames behind it."""
        self.flush()
        time_us = self._entries[-1].time_us if self._entries else 0
        entry = BlockEntry(0, time_us, BlockKind.BLOB, blob=(blob.kind, blob.key))
        self._append(BlockKind.BLOB, encode_blob(blob), entry)

    def flush(self) -> None:
        """Writes the block in hand: what was added survives the death of this process."""
        if not self._records:
            return
        # States alone are no entry point yet: the frame that they are for follows.
        if self._began_us is None:
            return
        entry = BlockEntry(0, self._began_us, BlockKind.FRAMES, self._entry_point)
        records, self._records, self._record_bytes = self._records, [], 0
        self._began_us, self._entry_point = None, False
        self._append(BlockKind.FRAMES, encode_records(records), entry)

    def sync(self) -> None:
        """Waits until the blocks are on the disk, where they survive a loss of power."""
        with self._reported():
            self._file.sync()

    def close(self) -> None:
        """Writes the last block and the index, unless writing has failed before; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failed:
                self.flush()
                content = encode_index(self._entries)
                if content is not None:
                    self._write(encode_block(BlockKind.INDEX, content) + encode_trailer(self.bytes_written))
        finally:
            with self._reported():
                self._file.close()

    def _is_full(self, captured_us: int) -> bool:
        if self._began_us is None:
            return False
        long = not 0 <= captured_us - self._began_us < _BLOCK_US
        return long or self._record_bytes >= _BLOCK_BYTES or len(self._records) >= _BLOCK_RECORDS

    def _add(self, record: Record, data_bytes: int) -> None:
        self._records.append(record)
        self._record_bytes += data_bytes

    def _append(self, kind: BlockKind, content: bytes, entry: BlockEntry) -> None:
        block = encode_block(kind, content, ENTRY_POINT if entry.entry_point else 0)
        offset = self.bytes_written
        self._write(block)
        self._entries.append(BlockEntry(offset, entry.time_us, kind, entry.entry_point, entry.blob))

    def _write(self, data: bytes) -> None:
        with self._reported():
            self._file.append(data)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            raise OutputError(f"cannot write the recording {self.path}: {error.strerror}") from error
