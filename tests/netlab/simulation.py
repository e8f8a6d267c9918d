"""The sender's congestion window, packet trains and rate control over a pipe, in simulated time.

The simulation has no hosts, no clock, and no TCP (acknowledgements, retransmissions). On links without outages it
predicts the display ages of `tests.bench.link` within some milliseconds, in a hundredth of the time.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from common.wire.convert import Heartbeat
from common.wire.traffic import wire_bytes
from sender.congestion.congestion_window import CongestionWindow
from sender.congestion.prober import Prober
from sender.congestion.samples import LinkSample
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from tests.netlab.pipe import Pipe, Shape

_PACKET_BYTES = 1500
# What a message adds to its payload, without headers.
_MESSAGE_OVERHEAD_BYTES = 25
_LABELS_BYTES = 50
_HOLD_S = 0.002
_TRAIN_DELAY_S = 0.01


class Shown(NamedTuple):
    """A frame that was displayed; seconds of simulated time."""

    captured_s: float
    shown_s: float

    @property
    def age_s(self) -> float:
        """Age of the frame when it was displayed."""
        return self.shown_s - self.captured_s


class _Waiting(NamedTuple):
    sequence: int
    captured_s: float
    held_back: bool


@dataclass(slots=True)
class Simulation:
    """One live sender; the reverse direction has the same delay and unlimited capacity.

    Args:
        forward: the direction of the frames.
        background_bytes: size of the blob that always waits beside the frames; 0 for labels alone.
        window: most unacknowledged frames.

    Attributes:
        shown: every frame that arrived.
        background: (arrival, bytes) of all chunks of blobs.
    """

    forward: Shape
    background_bytes: int = 0
    fps: float = 30.0
    window: int = 8
    shown: list[Shown] = field(default_factory=list)
    background: list[tuple[float, int]] = field(default_factory=list)
    rate: RateController = field(default_factory=lambda: RateController(RateConfig()))
    prober: Prober = field(default_factory=Prober)
    _pipe: Pipe = field(init=False)
    _congestion_window: CongestionWindow = field(init=False)
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _waiting: _Waiting | None = None
    _in_flight: int = 0
    _background_in_flight: int = 0
    _last_sent_s: float | None = None
    _last_arrival_s: float | None = None

    def __post_init__(self) -> None:
        self._pipe, self._congestion_window = Pipe(self.forward), CongestionWindow(self.window)

    def run(self, seconds: float) -> None:
        """Simulates this time, from the first frame on."""
        for sequence in range(int(seconds * self.fps)):
            self._at(sequence / self.fps, lambda now_s, number=sequence: self._capture(number, now_s))  # type: ignore[misc]
        self._at(0.0, lambda now_s: self._send_heartbeat(Heartbeat(1), 0, now_s))
        while self._events and self._events[0][0] < seconds:
            now_s, _, event = heapq.heappop(self._events)
            event(now_s)

    def _at(self, when_s: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), event))

    def _offer(self, message_bytes: int, now_s: float) -> float:
        """When the last packet of a message arrives.

        Raises:
            ValueError: a packet is lost.
        """
        left = wire_bytes(message_bytes)
        arrival_s = None
        while left > 0:
            arrival_s = self._pipe.offer(min(left, _PACKET_BYTES), now_s)
            left -= _PACKET_BYTES
        if arrival_s is None:
            raise ValueError("the simulation does not support loss: give the pipe a longer queue")
        return arrival_s

    def _capture(self, sequence: int, now_s: float) -> None:
        self.rate.on_offered(now_s * 1e3)
        self._congestion_window.offered(now_s * 1e3)
        self._waiting = _Waiting(sequence, now_s, self._in_flight >= self._congestion_window.frames)
        self._send_next(now_s)

    def _send_next(self, now_s: float) -> None:
        if self._waiting is None or self._in_flight >= self._congestion_window.frames:
            return
        frame, self._waiting = self._waiting, None
        message_bytes = _LABELS_BYTES + _MESSAGE_OVERHEAD_BYTES
        spacing_s = 0.0 if self._last_sent_s is None else now_s - self._last_sent_s
        self._last_sent_s = now_s
        self._in_flight += 1
        self.rate.on_sent(frame.sequence, _LABELS_BYTES, now_s * 1e3)
        self.prober.frame_sent(message_bytes, now_s * 1e3)
        arrival_s = self._offer(message_bytes, now_s)
        self._at(arrival_s, lambda at_s: self._arrive(frame, now_s, spacing_s, at_s))
        self._send_chunks(now_s)
        self._at(now_s + _TRAIN_DELAY_S, self._packet_train)

    def _send_chunks(self, now_s: float) -> None:
        size = (
            self.rate.background_bytes(self._background_in_flight, self.background_bytes, now_s * 1e3)
            if self.background_bytes
            else 0
        )
        if size:
            self._background_in_flight += size
            arrival_s = self._offer(size + _MESSAGE_OVERHEAD_BYTES, now_s)
            self.background.append((arrival_s, size))
            self._at(arrival_s + self.forward.delay_s, lambda _: self._chunk_received(size))

    def _chunk_received(self, size: int) -> None:
        self._background_in_flight -= size

    def _packet_train(self, now_s: float) -> None:
        sizes = self.prober.packet_train(now_s * 1e3, self.background_bytes)
        heartbeats = [Heartbeat(int(now_s * 1e9) + index) for index in range(len(sizes))]
        if sizes:
            data_bytes = min(sum(sizes), self.background_bytes)
            self.prober.sent({each.sent_ns: size for each, size in zip(heartbeats, sizes, strict=True)}, now_s * 1e3)
            self.prober.padded(sum(map(wire_bytes, sizes)) - data_bytes, now_s * 1e3)
        for heartbeat, size in zip(heartbeats, sizes, strict=True):
            self._send_heartbeat(heartbeat, size, now_s)

    def _send_heartbeat(self, heartbeat: Heartbeat, size: int, now_s: float) -> None:
        arrival_s = self._offer(size, now_s)
        echo = Heartbeat(heartbeat.sent_ns, int(arrival_s * 1e9))
        self._at(arrival_s + self.forward.delay_s, lambda at_s: self._echo(echo, at_s))

    def _echo(self, echo: Heartbeat, now_s: float) -> None:
        measurement = self.prober.echoed(echo)
        if measurement is not None:
            self.rate.on_packet_train(measurement, now_s * 1e3)

    def _arrive(self, frame: _Waiting, sent_s: float, spacing_s: float, now_s: float) -> None:
        self.shown.append(Shown(frame.captured_s, now_s + _HOLD_S))
        first = self._last_arrival_s is None
        arrival_spacing_ms = (now_s - (self._last_arrival_s or now_s)) * 1e3
        self._last_arrival_s = now_s
        sample = LinkSample(
            sequence=frame.sequence,
            message_bytes=_LABELS_BYTES + _MESSAGE_OVERHEAD_BYTES,
            round_trip_time_ms=(now_s + self.forward.delay_s - sent_s) * 1e3,
            hold_ms=_HOLD_S * 1e3,
            sent_spacing_ms=None if first else spacing_s * 1e3,
            arrival_spacing_ms=None if first else arrival_spacing_ms,
            waited=frame.held_back,
        )
        self._at(now_s + _HOLD_S + self.forward.delay_s, lambda at_s: self._acknowledged(sample, at_s))

    def _acknowledged(self, sample: LinkSample, now_s: float) -> None:
        self._in_flight -= 1
        self._congestion_window.update(sample, now_s * 1e3)
        self.prober.acknowledged(sample, now_s * 1e3)
        self.rate.on_acknowledged(sample, now_s * 1e3)
        self._send_next(now_s)
