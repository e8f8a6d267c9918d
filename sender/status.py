"""The sender's figures of the last seconds, for its status line."""

import threading
from dataclasses import dataclass

from rich.text import Text

from common.clock import SYSTEM_CLOCK, Clock
from common.frames import LabelFrame
from common.io.recent import RecentRate
from common.io.status_line import Part, Progress, Symbols, bit_rate, counted, duration, status_text
from common.wire.convert import Welcome
from sender.capture.source import FrameSource
from sender.congestion.samples import LinkSample
from sender.link.observer import LinkObserver
from sender.link.session import Payload
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController


@dataclass(frozen=True, slots=True)
class SenderFigures:
    """One moment of a sender.

    Args:
        frames_per_second: that were acknowledged, or recorded by a sender that only records.
        frame_bytes: mean labels of a frame; None if none was sent lately.
        bits_per_second: of all messages, in both directions.
        capacity_bps: estimate of rate control; None before it was measured.
        round_trip_ms: of the newest acknowledged frame; None before the first.
        people: in the newest frame that was sent.
        age_ms: since the newest acknowledged frame was captured; None before the first.
        connected: to a receiver; None for a sender that only records.
        camera_up: None for a source that is no camera.
        progress: None for a source of unknown length.
    """

    frames_per_second: float
    frame_bytes: float | None
    bits_per_second: float
    capacity_bps: float | None
    round_trip_ms: float | None
    people: int
    age_ms: float | None
    connected: bool | None
    camera_up: bool | None
    progress: Progress | None

    def parts(self, symbols: Symbols) -> list[Part]:
        """The parts of the status line."""
        if self.connected is None:
            found = [Part("recording", 4)]
        else:
            found = [Part("connected", 4) if self.connected else Part("no receiver", 0, "yellow")]
        if self.camera_up is not None:
            found.append(Part("camera on", 7) if self.camera_up else Part("camera lost", 0, "yellow"))
        found += [] if self.progress is None else self.progress.parts(symbols)
        found.append(Part(f"{self.frames_per_second:.1f} fps", 1))
        if self.frame_bytes is not None:
            found.append(Part(f"labels {self.frame_bytes:.0f} B/frame", 3))
        found.append(Part(bit_rate(self.bits_per_second), 2))
        if self.capacity_bps is not None:
            found.append(Part(f"capacity {bit_rate(self.capacity_bps)}", 5))
        if self.round_trip_ms is not None:
            found.append(Part(f"round trip {duration(self.round_trip_ms)}", 6))
        found.append(Part(counted(self.people, "person", "people"), 3))
        return found if self.age_ms is None else [*found, Part(f"age {duration(self.age_ms)}", 2)]


class SenderStatus(LinkObserver):
    """Keeps the figures; the link notifies it, and any thread may read them.

    Args:
        rate: has the capacity.
        metrics: know whether the camera delivers.
        source: its length is the end of the progress.
    """

    def __init__(
        self, rate: RateController, metrics: SenderMetrics, source: FrameSource, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._rate = rate
        self._metrics = metrics
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._acknowledged, self._payload, self._transferred = RecentRate(), RecentRate(), RecentRate()
        self._connected: bool | None = False
        self._people = 0
        self._round_trip_ms: float | None = None
        self._captured_at: float | None = None
        self._first: tuple[int, float] | None = None
        self._done = 0

    def connected(self, welcome: Welcome) -> None:
        self._connected = True

    def disconnected(self, reason: str) -> None:
        self._connected = False

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        with self._lock:
            self._payload.add(len(encoded.payload), self._clock.monotonic())
            self._people = len(frame.people)

    def transferred(self, message_bytes: int) -> None:
        with self._lock:
            self._transferred.add(message_bytes, self._clock.monotonic())

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        with self._lock:
            self._round_trip_ms = sample.round_trip_time_ms
            self._captured_at = frame.captured_at
            self._delivered(frame)

    def recorded(self, frame: LabelFrame) -> None:
        """A frame was recorded by a sender without a receiver."""
        self._connected = None
        with self._lock:
            self._people = len(frame.people)
            self._delivered(frame)

    def figures(self) -> SenderFigures:
        """The figures of this moment."""
        now_s = self._clock.monotonic()
        with self._lock:
            return SenderFigures(
                frames_per_second=self._acknowledged.per_second(now_s),
                frame_bytes=self._payload.mean(now_s),
                bits_per_second=8 * self._transferred.per_second(now_s),
                capacity_bps=self._rate.state.capacity.bps,
                round_trip_ms=self._round_trip_ms,
                people=self._people,
                age_ms=None if self._captured_at is None else (self._clock.wall() - self._captured_at) * 1e3,
                connected=self._connected,
                camera_up=self._metrics.camera_is_up if self._source.live else None,
                progress=self._progress(now_s),
            )

    def line(self, width: int, symbols: Symbols) -> Text:
        """The status line for a terminal of this width."""
        return status_text("sender", self.figures().parts(symbols), width, symbols)

    def _delivered(self, frame: LabelFrame) -> None:
        now_s = self._clock.monotonic()
        self._acknowledged.add(1, now_s)
        self._done = max(self._done, frame.sequence + 1)
        if self._first is None:
            self._first = self._done, now_s

    def _progress(self, now_s: float) -> Progress | None:
        total = self._source.length
        if total is None:
            return None
        if self._first is None:
            return Progress(self._done, total, None)
        first, began_s = self._first
        delivered = self._done - first
        left_s = max(total - self._done, 0) * (now_s - began_s) / delivered if delivered else None
        return Progress(self._done, total, left_s)
