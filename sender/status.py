"""The sender's figures of the last seconds, for its status line."""

import threading
from collections.abc import Iterator, Sequence

from common.clock import STEADY_CLOCK, Clock
from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame
from common.io.recent import RecentRate
from common.io.status_line import bit_rate, clock_time, duration
from common.wire.traffic import Traffic
from sender.capture.source import FrameSource
from sender.congestion.capacity import LinkSample
from sender.link.session import LinkObserver
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController


class SenderStatus(LinkObserver):
    """Keeps the figures; the link notifies it, and any thread may read them."""

    def __init__(
        self,
        rate: RateController,
        metrics: SenderMetrics,
        source: FrameSource,
        traffic: Traffic,
        clock: Clock = STEADY_CLOCK,
    ) -> None:
        self._rate, self._metrics, self._source, self._traffic = rate, metrics, source, traffic
        self._clock = clock
        self._lock = threading.Lock()
        self._acknowledged, self._payload = RecentRate(), RecentRate()
        self._connected: bool | None = False
        self._people = 0
        self._round_trip_ms: float | None = None
        self._captured_at: float | None = None
        self._first: tuple[int, float] | None = None
        self._done = 0

    def connected(self) -> None:
        self._connected = True

    def disconnected(self, reason: str) -> None:
        self._connected = False

    def sent(self, frames: Sequence[LabelFrame], encoded: EncodedFrame) -> None:
        with self._lock:
            self._payload.add(len(encoded.payload), self._clock.monotonic())
            self._people = len(frames[-1].people)

    def acknowledged(self, frames: Sequence[LabelFrame], sample: LinkSample) -> None:
        with self._lock:
            self._round_trip_ms = sample.round_trip_time_ms
            for frame in frames:
                self._captured_at = frame.captured_at
                self._delivered(frame)

    def recorded(self, frame: LabelFrame) -> None:
        """A frame was recorded by a sender without a receiver."""
        self._connected = None
        with self._lock:
            self._people = len(frame.people)
            self._delivered(frame)

    def parts(self) -> list[str]:
        """The parts of the status line, the most important first."""
        with self._lock:
            return [*self._states(), *self._rates()]

    def _states(self) -> Iterator[str]:
        if self._connected is None:
            yield "recording"
        else:
            yield "connected" if self._connected else "[yellow]no receiver[/]"
        if self._source.live and not self._metrics.camera_is_up:
            yield "[yellow]camera lost[/]"

    def _rates(self) -> Iterator[str]:
        now_s = self._clock.monotonic()
        total = self._source.length
        if total is not None:
            yield f"{self._done}/{max(total, self._done)} frames"
        if total is not None and (left_s := self._left_s(total, now_s)) is not None:
            yield f"{clock_time(left_s)} left"
        of_video = f" of {self._source.fps:.0f}" if self._source.fps else ""
        yield f"{self._acknowledged.per_second(now_s):.1f}{of_video} fps"
        yield f"link {bit_rate(self._traffic.recent_bps)}"
        if self._captured_at is not None and self._source.fps is None:
            yield f"age {duration(max(self._clock.wall() - self._captured_at, 0.0) * 1e3)}"
        yield f"{self._people} {'person' if self._people == 1 else 'people'}"
        if (frame_bytes := self._payload.mean(now_s)) is not None:
            yield f"labels {frame_bytes:.0f} B/frame"
        capacity = self._rate.state.capacity
        if capacity.bps is not None:
            yield f"capacity {'' if capacity.measured else 'at least '}{bit_rate(capacity.bps)}"
        if self._round_trip_ms is not None:
            yield f"round trip {duration(self._round_trip_ms)}"

    def _delivered(self, frame: LabelFrame) -> None:
        now_s = self._clock.monotonic()
        self._acknowledged.add(1, now_s)
        self._done = max(self._done, frame.sequence + 1)
        if self._first is None:
            self._first = self._done, now_s

    def _left_s(self, total: int, now_s: float) -> float | None:
        """About how long the rest of the source takes; None before the second frame."""
        if self._first is None:
            return None
        first, began_s = self._first
        delivered = self._done - first
        return max(total - self._done, 0) * (now_s - began_s) / delivered if delivered else None
