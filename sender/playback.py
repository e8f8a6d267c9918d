"""The frames of a source as the session has them: numbered, and at their times."""

import threading
from collections.abc import Iterator
from dataclasses import replace

from common.clock import SYSTEM_CLOCK, Clock
from sender.capture.source import CapturedFrame, FrameSource
from sender.metrics import SenderMetrics


class Playback:
    """Reads a source, whose frames get their sequence numbers in the session.

    Args:
        source: closed with this object.
        first_sequence: of the next frame; frames of a file before it were taken by an earlier run and are skipped.
        media_times: a frame of a video file was captured at its time in the file, counted from now on.
    """

    def __init__(
        self,
        source: FrameSource,
        metrics: SenderMetrics,
        *,
        first_sequence: int = 0,
        realtime: bool = False,
        media_times: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.stills = source.stills
        self._source = source
        self._metrics, self._clock = metrics, clock
        self._next_sequence = first_sequence
        self._media_began_at = clock.wall() if media_times and source.fps is not None else None
        # Only a file has the same frames when it is read again.
        self._is_file = source.ends
        self._realtime = realtime and self._is_file
        self._began_s: float | None = None
        self._frames: Iterator[CapturedFrame] | None = None
        self._ended = False
        self._closing = threading.Event()

    @property
    def finished(self) -> bool:
        """Whether the source was read to its end; one without an end ends when the sender is stopped."""
        return self._ended or not self._is_file

    def read(self) -> CapturedFrame | None:
        """Waits for the next frame; None at the source's end or when this object is closed meanwhile.

        Raises:
            SourceError: the source cannot be read.
        """
        if self._frames is None:
            self._frames = iter(self._source)
        frame = self._capture(self._frames)
        while frame is not None and self._is_file and frame.sequence < self._next_sequence:
            frame = self._capture(self._frames)
        if frame is None:
            self._ended = not self._closing.is_set()
            return None
        sequence, self._next_sequence = self._next_sequence, self._next_sequence + 1
        return replace(frame, sequence=sequence, captured_at=self._captured_at(frame))

    def close(self) -> None:
        """Closes the source and ends a `read` that waits, in any thread. Safe to call twice."""
        self._closing.set()
        self._source.close()

    def _capture(self, frames: Iterator[CapturedFrame]) -> CapturedFrame | None:
        with self._metrics.stage("capture"):
            return next(frames, None)

    def _captured_at(self, frame: CapturedFrame) -> float:
        """The frame's time of capture; in real time, waits until it is due, which is that moment."""
        if self._realtime:
            if self._began_s is None:
                self._began_s = self._clock.monotonic() - frame.media_time_s
            self._closing.wait(max(0.0, self._began_s + frame.media_time_s - self._clock.monotonic()))
            return self._clock.wall()
        return frame.captured_at if self._media_began_at is None else self._media_began_at + frame.media_time_s
