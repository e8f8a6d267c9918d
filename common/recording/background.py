"""Writes a recording in a thread of its own: a slow or full disk neither delays nor ends a session."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from common.blobs import Blob
from common.errors import OutputError
from common.recording.writer import RecordingWriter
from common.text import counted

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
