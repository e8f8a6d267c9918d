"""Frames from live cameras: a thread reads continuously and keeps only the newest frame."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from common.arrays import Image
from common.clock import STEADY_CLOCK, Clock
from common.errors import SourceError
from common.text import counted
from sender.capture.source import CapturedFrame, FrameSource, camera_of
from sender.metrics import DropReason, SenderMetrics

logger = logging.getLogger(__name__)

# Seconds before each attempt to reopen a lost camera; the last value repeats.
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
_CLOSE_TIMEOUT_S = 0.5
# The part of a delay that is forgotten in its time: clocks of cameras drift by less.
_FORGOTTEN = 0.01
# A frame that is later is none: the camera's clock was set.
_MOST_BEHIND_S = 30.0
# A delay that comes at once is of a backlog if it falls below this part in this time.
_RISE_S, _DRAINING, _DRAINING_S = 1.0, 0.8, 5.0


class ImageReader(Protocol):
    """An open camera."""

    @property
    def time_s(self) -> float | None:
        """The newest frame's time on the camera's clock, seconds; None if it tells none."""
        ...

    def read(self) -> Image:
        """Waits for the next frame, (H, W, 3) RGB; raises SourceError when the camera is lost."""
        ...

    def close(self) -> None: ...


class LeastDelay:
    """How late the frames of a camera are, by its own times and the least delay that was seen.

    So those of a backlog are not taken for new. It begins again with the camera's times, and where they stood still: a
    delay that comes at once and stays is none of a backlog, which becomes shorter. What comes slowly is forgotten
    slowly, because the camera's clock may be slower than ours.
    """

    def __init__(self) -> None:
        self._newest: tuple[float, float] | None = None
        self._rose: tuple[float, float] | None = None
        self._least_s = self._behind_s = 0.0

    def behind_s(self, time_s: float | None, arrived_s: float) -> float:
        """Seconds since the capture of the next frame, beyond the least delay.

        Args:
            time_s: of the frame on the camera's clock; None is as late as the frame before.
            arrived_s: on our monotonic clock.
        """
        if time_s is None:
            return self._behind_s
        delay_s = arrived_s - time_s
        before_s, before_arrived_s = self._newest or (time_s, arrived_s)
        expected_s = self._least_s + _FORGOTTEN * (arrived_s - before_arrived_s)
        if self._newest is None or time_s < before_s or self._stays(delay_s - expected_s, arrived_s):
            expected_s, self._rose = delay_s, None
        self._least_s = min(delay_s, expected_s)
        self._newest, self._behind_s = (time_s, arrived_s), delay_s - self._least_s
        return self._behind_s

    def _stays(self, behind_s: float, arrived_s: float) -> bool:
        """Whether frames have been late for so long, or are so late, that the camera's clock was set or stood still."""
        if behind_s > self._behind_s + _RISE_S:
            self._rose = arrived_s, behind_s
        rose_s, rise_s = self._rose or (arrived_s, 0.0)
        if behind_s < _DRAINING * rise_s:
            self._rose = None
        return behind_s > _MOST_BEHIND_S or (self._rose is not None and arrived_s > rose_s + _DRAINING_S)


class LiveSource(FrameSource):
    """The newest frame of a camera.

    The camera is opened on construction, so that a missing camera is an error at once. A camera that is lost later is
    logged, shown in the gauge, and reopened with growing delays. Frames that were replaced by newer ones are counted.
    Iterating blocks until there is a new frame, and ends after `close`, which any thread may call.

    Args:
        name: of the source, in `CapturedFrame` and messages.
        open_reader: opens the camera or raises SourceError.
        backoff_s: delays before each attempt to reopen.
        patient: a camera that is missing at first is lost, and no error; the thread opens it.

    Raises:
        SourceError: the camera cannot be opened on construction, unless `patient`.
    """

    live, ends = True, False

    def __init__(
        self,
        name: str,
        open_reader: Callable[[], ImageReader],
        focal_px: float | None = None,
        metrics: SenderMetrics | None = None,
        clock: Clock = STEADY_CLOCK,
        backoff_s: tuple[float, ...] = BACKOFF_S,
        patient: bool = False,
    ) -> None:
        self._name = name
        self._open_reader = open_reader
        self._focal_px = focal_px
        self._metrics = SenderMetrics() if metrics is None else metrics
        self._clock = clock
        self._backoff_s = backoff_s
        self._began_s = clock.monotonic()
        self._newest: tuple[float, float, Image, bool] | None = None
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._closing = threading.Event()
        reader = None if patient else self._opened()
        # A daemon thread, because a driver that hangs in a read must not keep the process alive.
        self._thread = threading.Thread(target=self._run, args=(reader,), name=f"capture {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence = 0
        while (newest := self._take()) is not None:
            captured_at, media_time_s, image, is_late = newest
            camera = camera_of(image, self._focal_px)
            yield CapturedFrame(sequence, self._name, captured_at, media_time_s, image, camera, is_late)
            sequence += 1

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout=_CLOSE_TIMEOUT_S)
        self._metrics.camera_up(False)

    def _take(self) -> tuple[float, float, Image, bool] | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._closing.is_set() or self._failure is not None
            )
            if self._failure is not None:
                raise self._failure
            newest, self._newest = self._newest, None
            return None if self._closing.is_set() else newest

    def _run(self, reader: ImageReader | None) -> None:
        """The thread: reads until closed; an unexpected exception is raised again in the iterating thread."""
        try:
            current = reader or self._opened_at_last()
            while current is not None:
                self._read_until_lost(current)
                current = self._reopen()
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _read_until_lost(self, reader: ImageReader) -> None:
        delay = LeastDelay()
        try:
            while not self._closing.is_set():
                image, arrived_s = reader.read(), self._clock.monotonic()
                self._put(image, arrived_s, delay.behind_s(reader.time_s, arrived_s))
        except SourceError as error:
            self._metrics.camera_up(False)
            logger.warning("%s is lost: %s", self._name, error)
        finally:
            reader.close()

    def _put(self, image: Image, arrived_s: float, behind_s: float) -> None:
        self._metrics.camera_frame()
        with self._changed:
            if is_late := self._newest is not None:
                self._metrics.frame_dropped(DropReason.REPLACED)
            media_time_s = arrived_s - behind_s - self._began_s
            self._newest = (self._clock.wall() - behind_s, media_time_s, image, is_late)
            self._changed.notify_all()

    def _opened(self) -> ImageReader:
        reader = self._open_reader()
        self._metrics.camera_up(True)
        return reader

    def _opened_at_last(self) -> ImageReader | None:
        """Opens the camera now or when it is there; None once the source is closed."""
        try:
            return self._opened()
        except SourceError as error:
            logger.warning("%s is missing: %s", self._name, error)
            return self._reopen()

    def _reopen(self) -> ImageReader | None:
        """Tries to reopen the camera until it succeeds; None once the source is closed."""
        attempt = 0
        while not self._closing.wait(self._backoff_s[min(attempt, len(self._backoff_s) - 1)]):
            attempt += 1
            try:
                reader = self._opened()
            except SourceError as error:
                logger.info("attempt %d to reopen %s: %s", attempt, self._name, error)
                continue
            logger.warning("%s is back after %s", self._name, counted(attempt, "attempt"))
            return reader
        return None
