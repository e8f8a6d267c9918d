"""The frames of a source as the session has them: numbered, and at their times."""

import math
import threading
from collections.abc import Iterator
from dataclasses import replace

from common.clock import STEADY_CLOCK, Clock
from sender.capture.source import CapturedFrame, FrameSource
from sender.metrics import DropReason, SenderMetrics


def has_time(source: FrameSource, *, realtime: bool) -> bool:
    """Whether nobody waits for a source's frames, and they follow each other."""
    return source.ends and not source.stills and not source.live and not realtime


class Playback:
    """Reads a source, whose frames get their sequence numbers in the session.

    Args:
        source: closed with this object.
        first_sequence: of the next frame; frames of a file before it were taken by an earlier run and are skipped.
        realtime: a video is read at its own pace, from `begin` on.
        skips_late: then frames whose successor is due are left out; where reading those takes longer than the first one
            is late, the pace begins anew.

    Attributes:
        has_time: see `has_time`.
        waits: whether the pace has not begun.
    """

    def __init__(
        self,
        source: FrameSource,
        metrics: SenderMetrics,
        *,
        first_sequence: int = 0,
        realtime: bool = False,
        skips_late: bool = False,
        clock: Clock = STEADY_CLOCK,
    ) -> None:
        self.stills, self.brief = source.stills, source.brief
        self.has_time = has_time(source, realtime=realtime)
        self._source = source
        self._metrics, self._clock = metrics, clock
        self._next_sequence = first_sequence
        # Only a file has the same frames when it is read again.
        self._is_file = source.ends
        self._has_times = source.fps is not None
        self._realtime = realtime
        self._interval_s = 1.0 / source.fps if skips_late and source.fps else None
        self._began: tuple[float, float] | None = None
        self._read_s = 0.0
        self.waits = realtime and self._has_times
        self._frames: Iterator[CapturedFrame] | None = None
        self._ended = False
        self._closing = threading.Event()

    @property
    def finished(self) -> bool:
        """Whether the source was read to its end; one without an end ends when the sender is stopped."""
        return self._ended or not self._is_file

    def begin(self) -> float:
        """Begins the pace, with the frame that was read last; returns its time of capture."""
        self.waits = False
        return self._begin_at(self._read_s)[0] + self._read_s

    def read(self) -> CapturedFrame | None:
        """Waits for the next frame; None at the source's end or when this object is closed meanwhile.

        Raises:
            SourceError: the source cannot be read.
        """
        if self._frames is None:
            self._frames = iter(self._source)
        frame = self._next_frame(self._frames)
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

    def _next_frame(self, frames: Iterator[CapturedFrame]) -> CapturedFrame | None:
        """The next one that was not taken by an earlier run and is not late."""
        frame = self._capture(frames)
        while frame is not None and self._is_file and frame.sequence < self._next_sequence:
            frame = self._capture(frames)
        until_s, found = None, frame
        while frame is not None and (late_s := self._late_by_s(frame)) >= 0:
            now_s = self._clock.monotonic()
            until_s = now_s + late_s if until_s is None else until_s
            if now_s > until_s:
                self._began = None
                break
            self._metrics.frame_dropped(DropReason.REPLACED)
            frame = self._capture(frames)
        return frame if frame is None or frame is found else replace(frame, is_late=True)

    def _late_by_s(self, frame: CapturedFrame) -> float:
        """How long ago the frame behind this one was due, where late frames are left out; negative before."""
        if self._began is None or self._interval_s is None:
            return -math.inf
        return self._clock.monotonic() - (self._began[1] + frame.media_time_s + self._interval_s)

    def _captured_at(self, frame: CapturedFrame) -> float:
        """The frame's time of capture: of a video, its time in the file, counted from when the first one was read."""
        if not self._has_times:
            return frame.captured_at
        self._read_s = frame.media_time_s
        began_at, began_s = self._began or self._begin_at(frame.media_time_s)
        if self._realtime:
            self._closing.wait(max(0.0, began_s + frame.media_time_s - self._clock.monotonic()))
        return began_at + frame.media_time_s

    def _begin_at(self, media_time_s: float) -> tuple[float, float]:
        """When the file began, on both clocks, if a frame of this time is due now."""
        self._began = self._clock.wall() - media_time_s, self._clock.monotonic() - media_time_s
        return self._began
