"""Writes a recording in a thread of its own: a slow or full disk neither delays nor ends a session."""

import logging
import queue
import threading
from collections.abc import Callable

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from common.recording.writer import RecordingWriter

logger = logging.getLogger(__name__)

_MAX_PENDING_BYTES = 64 << 20
# What a recorder that is killed loses at most, besides the block in hand.
_FLUSH_AFTER_S = 1.0
_SYNC_EVERY_S = 10.0

Work = Callable[[RecordingWriter], None]


class BackgroundRecording:
    """Runs work on a writer in order; at the first failure the recording ends and the rest is dropped.

    Args:
        writer: used by this object alone, and by others after `close`.
        max_pending_bytes: of work that waits for the disk; with more the recording ends.

    Attributes:
        failed: the recording has ended before the session.
    """

    def __init__(
        self, writer: RecordingWriter, *, max_pending_bytes: int = _MAX_PENDING_BYTES, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.writer = writer
        self.failed = False
        self._max_pending_bytes = max_pending_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._queue: queue.SimpleQueue[tuple[Work, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def submit(self, work: Work, data_bytes: int) -> None:
        """Queues work; does not block, and does nothing after a failure.

        Args:
            work: gets the writer; an OutputError or ValueError of it ends the recording.
            data_bytes: memory that the work holds.
        """
        if self.failed:
            return
        with self._lock:
            self._pending_bytes += data_bytes
            too_slow = self._pending_bytes > self._max_pending_bytes
        if too_slow:
            self._fail(f"the disk is too slow for the recording {self.writer.path}")
        else:
            self._queue.put((work, data_bytes))

    @property
    def finished(self) -> bool:
        """Whether the file is complete."""
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Lets the thread finish the work and the file; does not wait."""
        self._queue.put(None)

    def close(self) -> None:
        """Waits until the file is complete; safe to call twice."""
        self.finish()
        self._thread.join()

    def _run(self) -> None:
        synced_s = self._clock.monotonic()
        while not self.failed and (item := self._next()) is not None:
            work, data_bytes = item
            self._do(work)
            with self._lock:
                self._pending_bytes -= data_bytes
            if self._clock.monotonic() - synced_s >= _SYNC_EVERY_S:
                self._do(RecordingWriter.sync)
                synced_s = self._clock.monotonic()
        self._do(RecordingWriter.close)
        if not self.failed:
            frames, size = self.writer.frames, self.writer.bytes_written
            logger.info("recorded %d frames in %s (%d bytes)", frames, self.writer.path, size)

    def _next(self) -> tuple[Work, int] | None:
        """The next work; None at the end. What was written is flushed when nothing comes for a second."""
        try:
            return self._queue.get(timeout=_FLUSH_AFTER_S)
        except queue.Empty:
            return RecordingWriter.flush, 0

    def _do(self, work: Work) -> None:
        try:
            work(self.writer)
        except (OutputError, ValueError) as error:
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        if not self.failed:
            self.failed = True
            logger.error("%s: the recording ends here, the session goes on; what was recorded plays", reason)
