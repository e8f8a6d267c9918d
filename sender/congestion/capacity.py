"""Estimates the capacity of a link that small frames rarely fill."""

from collections import deque
from dataclasses import dataclass
from statistics import median

from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.samples import LinkSample
from sender.congestion.windowed_extreme import WindowedExtreme

# A few frames may be late by chance; a delay that this many consecutive frames had is a standing queue.
_STANDING_QUEUE_FRAMES = 4
_MEDIAN_MEASUREMENTS = 9
_LOWER_QUARTILE_WINDOW_MS = 1000.0
# Age at which a measurement is dropped, so that the sender may try a higher rate.
_WINDOW_MS = 16_000.0
# Queueing delay that all of the last frames must exceed for a standing queue.
_QUEUE_MS = 15.0
# Window of the minimum delay.
_FLOOR_WINDOW_MS = 30_000.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """An estimate as of one moment.

    Args:
        bps: bits per second; None before anything was measured.
        measured: the link was seen full, so `bps` is its capacity. Otherwise the sender never filled it, and `bps` is
            the rate delivered: a lower bound that must not throttle anything.
    """

    bps: float | None
    measured: bool


class CapacityEstimator:
    """Median of recent measurements, of the precise ones if there are any, cut as soon as a standing queue is detected.

    There are two kinds of measurement. Packet trains are timed message by message at the receiver (`on_packet_train`).
    And a queue of our own making measures the capacity: it is detected when each of the last frames was held back by
    the window, was sent within the round-trip time of its predecessor, and arrived late; then the estimate falls at
    once to the rate delivered. (A receiver that is slow to reconstruct also holds frames back, but those are sent long
    after their predecessors arrived.) Every other sample is limited by the application and only a lower bound.
    """

    def __init__(self) -> None:
        self._measured: deque[_Measurement] = deque(maxlen=_MEDIAN_MEASUREMENTS)
        self._lower_bound = WindowedExtreme(_WINDOW_MS, largest=True)
        # Of the newest frame on its way there, since the first one of the stream; and the minimum.
        self._delay_ms = 0.0
        self._least_delay_ms = WindowedExtreme(_FLOOR_WINDOW_MS)
        self._recent: deque[_Arrival] = deque(maxlen=_STANDING_QUEUE_FRAMES)
        self._last_rtt_ms = 0.0

    def update(self, sample: LinkSample, now_ms: float) -> Capacity:
        """Adds an acknowledged frame and returns the estimate."""
        previous_rtt_ms, self._last_rtt_ms = self._last_rtt_ms, sample.round_trip_time_ms
        if sample.arrival_spacing_ms is None or sample.sent_spacing_ms is None:
            # A new stream: frames before and after the gap are unrelated.
            self._recent.clear()
            self._least_delay_ms.clear()
            self._delay_ms = self._least_delay_ms.update(0.0, now_ms)
            return self.at(now_ms)
        self._delay_ms += sample.arrival_spacing_ms - sample.sent_spacing_ms
        queue_ms = self._delay_ms - self._least_delay_ms.update(self._delay_ms, now_ms)
        queued = sample.waited and sample.sent_spacing_ms < previous_rtt_ms and queue_ms > _QUEUE_MS
        self._recent.append(_Arrival(sample.wire_bytes * 8, sample.arrival_spacing_ms, queued))
        if self._standing_queue():
            self._cut(self._delivered_bps(), now_ms)
        else:
            self._lower_bound.update(self._delivered_bps(), now_ms)
        return self.at(now_ms)

    def on_packet_train(self, measurement: PacketTrainSample, now_ms: float) -> Capacity:
        """Adds the measurement of a packet train and returns the estimate."""
        if measurement.resolved:
            self._add(measurement.bps, now_ms, precise=measurement.precise)
        else:
            self._lower_bound.update(measurement.bps, now_ms)
        return self.at(now_ms)

    def at(self, now_ms: float) -> Capacity:
        measured_bps = self._median_bps(now_ms)
        if measured_bps is not None:
            return Capacity(measured_bps, True)
        return Capacity(self._lower_bound.at(now_ms), False)

    def lower_quartile_bps(self, now_ms: float) -> float | None:
        """Lower quartile of the measurements of the last second; the estimate if there were none."""
        recent = sorted(each.bps for each in self._measured if each.at_ms >= now_ms - _LOWER_QUARTILE_WINDOW_MS)
        return recent[len(recent) // 4] if recent else self.at(now_ms).bps

    def _median_bps(self, now_ms: float) -> float | None:
        while self._measured and self._measured[0].at_ms < now_ms - _WINDOW_MS:
            self._measured.popleft()
        precise = [each.bps for each in self._measured if each.precise]
        return median(precise or [each.bps for each in self._measured]) if self._measured else None

    def _standing_queue(self) -> bool:
        return len(self._recent) == _STANDING_QUEUE_FRAMES and all(arrival.queued for arrival in self._recent)

    def _cut(self, delivered_bps: float, now_ms: float) -> None:
        highest_bps = self.at(now_ms).bps
        if highest_bps is not None and highest_bps > delivered_bps:
            self._measured.clear()
            self._lower_bound.clear()
        self._add(delivered_bps, now_ms)

    def _add(self, bps: float, now_ms: float, *, precise: bool = True) -> None:
        self._measured.append(_Measurement(now_ms, bps, precise))

    def _delivered_bps(self) -> float:
        spacing_ms = sum(arrival.spacing_ms for arrival in self._recent)
        return sum(arrival.bits for arrival in self._recent) / spacing_ms * 1e3


@dataclass(frozen=True, slots=True)
class _Measurement:
    at_ms: float
    bps: float
    precise: bool


@dataclass(frozen=True, slots=True)
class _Arrival:
    bits: int
    spacing_ms: float
    queued: bool
