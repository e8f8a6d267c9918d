"""Writes a recording: appends whole blocks, so that what was written can be read, whatever ends the process."""

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from common.blobs import Blob
from common.errors import OutputError
from common.recording.format import (
    MAGIC,
    BlockKind,
    Record,
    RecordedFrame,
    RecordedState,
    RecordingFacts,
    encode_blob,
    encode_block,
    encode_records,
)
from common.recording.reader import Recording
from common.text import counted

_BLOCK_US: Final = 1_000_000
_BLOCK_BYTES: Final = 1 << 18
_BLOCK_RECORDS: Final = 1024
# What a loss of power takes at most, besides the block in hand.
_SYNC_EVERY_S: Final = 10.0


def file_head(facts: RecordingFacts) -> bytes:
    """What a recording without frames consists of."""
    return MAGIC + encode_block(BlockKind.FACTS, facts.encode())


class RecordingWriter:
    """Writes one file; used by one thread at a time.

    After an `OutputError` of any method only `close` may be called: the blocks before are whole.

    Args:
        path: must not exist; readable by its owner alone.

    Attributes:
        bytes_written: size of the file.

    Raises:
        OutputError: the file exists, or cannot be created or written.
    """

    def __init__(self, path: Path, facts: RecordingFacts) -> None:
        try:
            self._open(path, os.O_CREAT | os.O_EXCL, 0)
        except FileExistsError:
            raise OutputError(f"{path} exists: remove it, or give the recording another name") from None
        except OSError as error:
            raise OutputError(f"cannot create the recording {path}: {error.strerror}") from error
        try:
            self._write(file_head(facts))
        except OutputError:
            self.close()
            raise

    @classmethod
    def behind(cls, recording: Recording, blocks: int) -> Self:
        """Continues a recording behind so many of its blocks; what follows is cut off. Raises OSError."""
        writer = cls.__new__(cls)
        writer._open(recording.path, os.O_NOFOLLOW, recording.end_of(blocks))
        return writer

    def _open(self, path: Path, flags: int, size_bytes: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        os.ftruncate(self._file, size_bytes)
        self.path, self.bytes_written = path, size_bytes
        self.frames = 0
        self._synced, self._synced_s = True, time.monotonic()
        self._records: list[Record] = []
        self._record_bytes = 0
        self._kind = BlockKind.FRAMES
        self._failed = self._closed = False
        self._last_us = 0
        self._began_us: int | None = None

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
        self._kind = BlockKind.ENTRY_POINT

    def add_state(self, state: RecordedState) -> None:
        """Adds a state that packets behind it are predicted from."""
        self._add(state, len(state.data))

    def add_blob(self, blob: Blob) -> None:
        """Adds a blob, which counts for the frames behind it."""
        self.flush()
        self._write(encode_block(BlockKind.BLOB, encode_blob(blob), self._last_us))

    def flush(self) -> None:
        """Writes the block in hand: what was added survives the death of this process."""
        # States alone are no entry point yet: the frame that they are for follows.
        if self._began_us is None:
            return
        block = encode_block(self._kind, encode_records(self._records), self._began_us)
        self._last_us, self._began_us, self._kind = self._began_us, None, BlockKind.FRAMES
        self._records, self._record_bytes = [], 0
        self._write(block)
        if time.monotonic() - self._synced_s >= _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Waits until the blocks are on the disk, where they survive a loss of power."""
        with self._reported():
            if not self._synced:
                os.fsync(self._file)
                self._synced, self._synced_s = True, time.monotonic()

    def close(self) -> None:
        """Writes the last block, unless writing has failed before; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failed:
                self.flush()
        finally:
            try:
                self.sync()
            finally:
                os.close(self._file)

    def _is_full(self, captured_us: int) -> bool:
        if self._began_us is None:
            return False
        long = not 0 <= captured_us - self._began_us < _BLOCK_US
        return long or self._record_bytes >= _BLOCK_BYTES or len(self._records) >= _BLOCK_RECORDS

    def _add(self, record: Record, data_bytes: int) -> None:
        self._records.append(record)
        self._record_bytes += data_bytes

    def _write(self, data: bytes) -> None:
        self._synced = False
        with self._reported():
            try:
                if os.write(self._file, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with contextlib.suppress(OSError):  # a reader ignores a block that is not whole
                    os.ftruncate(self._file, self.bytes_written)
                raise
        self.bytes_written += len(data)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            raise OutputError(f"cannot write the recording {self.path}: {error.strerror}") from error


logger = logging.getLogger(__name__)

Work = Callable[[RecordingWriter], None]


class BackgroundRecording:
    """Runs work on a writer in order; at the first failure the recording ends and the rest is dropped.

    Args:
        writer: used by this object alone, and by others after `close`.

    Attributes:
        failed: the recording has ended before the session.
    """

    def __init__(self, writer: RecordingWriter) -> None:
        self.writer = writer
        self.failed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording")
        self._closing: Future[None] | None = None

    def submit(self, work: Work) -> None:
        """Queues work, of which an OutputError or ValueError ends the recording; does nothing after that or the end."""
        if not self.failed and self._closing is None:
            self._thread.submit(self._do, work)

    def add_blob(self, blob: Blob) -> None:
        """Queues a blob, which counts for the frames behind it; pictures are left out."""
        if blob.traits.recorded:
            self.submit(lambda writer: writer.add_blob(blob))

    @property
    def finished(self) -> bool:
        """Whether the file is complete."""
        return self._closing is not None and self._closing.done()

    def finish(self) -> None:
        """Lets the thread finish the work and the file; does not wait. Safe to call twice."""
        if self._closing is None:
            self._closing = self._thread.submit(self._close)
            self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Waits until the file is complete; safe to call twice."""
        self.finish()
        self._thread.shutdown()

    def _close(self) -> None:
        self._run(RecordingWriter.close)
        if not self.failed:
            frames, size = self.writer.frames, self.writer.bytes_written
            logger.info("recorded %s in %s (%d bytes)", counted(frames, "frame"), self.writer.path, size)

    def _do(self, work: Work) -> None:
        if not self.failed:
            self._run(work)

    def _run(self, work: Work) -> None:
        try:
            work(self.writer)
        except (OutputError, ValueError) as error:
            if not self.failed:
                self.failed = True
                logger.error("%s: the recording ends here, the session goes on; what was recorded plays", error)
