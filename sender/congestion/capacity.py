"""How much the link could carry, as far as sending small frames can tell."""

from collections import deque
from dataclasses import dataclass
from statistics import median

from sender.congestion.delay_gradient import DelayGradient
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.paper_delay import WindowedExtreme
from sender.congestion.samples import LinkSample

# Fewer frames than this may be late by accident; a queue that all of them met is standing.
_STANDING = 4
# Shorter frames pass before clocks can tell.
_LONG_BYTES = 3000
_RESOLVED_MS = 3.0
_MEDIAN_OF = 9
_LOWER_QUARTILE_WINDOW_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """An estimate as of one moment.

    Args:
        bps: bits per second; None before anything was measured.
        measured: the link was seen full, so `bps` is what it carries. Otherwise the sender never filled it, and `bps`
            is only what went through: a lower bound that must not throttle anything.
        queue_ms: how long the last frame waited beyond the shortest way of late.
    """

    bps: float | None
    measured: bool
    queue_ms: float


class CapacityEstimator:
    """Median of what measured the link of late, cut as soon as a queue stands.

    Three things measure it. Trains do, which are timed message by message at the receiver (`on_train`). Long frames do:
    one that left alone took, beyond the way of a short message, its own bits' time; one that left behind another took
    that since the arrival of the other. And a queue of our own making does, which shows when each of the last few
    frames was held back by the window, left before the one ahead had arrived, and arrived late, or when the gradient of
    the delays says so; then the estimate falls at once to what is delivered, however high it was. (A receiver that is
    slow to reconstruct also holds frames back, but those leave long after the one ahead arrived.) Every other sample is
    limited by the application and only a lower bound.

    Args:
        window_ms: how long a measurement holds; after that the sender may try for more.
        queue_ms: lateness that all of the last frames must exceed for the queue to count as standing.
        floor_window_ms: over how long the shortest way is sought.
    """

    def __init__(self, window_ms: float = 10_000.0, queue_ms: float = 15.0, floor_window_ms: float = 30_000.0) -> None:
        if queue_ms <= 0:
            raise ValueError(f"queue_ms {queue_ms} is not above 0")
        self._queue_ms = queue_ms
        self._window_ms = window_ms
        self._measured: deque[tuple[float, float]] = deque(maxlen=_MEDIAN_OF)
        self._lower_bound = WindowedExtreme(window_ms, largest=True)
        self._shortest_ms = WindowedExtreme(floor_window_ms)
        self._one_way_delay_ms = WindowedExtreme(floor_window_ms)
        self._gradient = DelayGradient()
        self._recent: deque[_Arrival] = deque(maxlen=_STANDING)
        self._last_queue_ms = 0.0
        self._last_rtt_ms = 0.0

    def update(self, sample: LinkSample, now_ms: float) -> Capacity:
        """Takes in one acknowledged frame and returns the estimate."""
        previous_rtt_ms, self._last_rtt_ms = self._last_rtt_ms, sample.round_trip_time_ms
        if sample.wire_bytes < _LONG_BYTES:
            self.on_one_way_delay(sample.one_way_ms, now_ms)
        self._last_queue_ms = sample.one_way_ms - self._shortest_ms.update(sample.one_way_ms, now_ms)
        if sample.arrival_spacing_ms is None or sample.sent_spacing_ms is None:
            # A new stream: what came before the gap has nothing to do with what comes after.
            self._recent.clear()
            self._gradient.restart()
            return self.at(now_ms)
        bits = sample.wire_bytes * 8
        own_ms = self._own_ms(bits, now_ms)
        growing = self._gradient.update(sample.one_way_ms - own_ms, now_ms)
        busy = sample.waited and sample.sent_spacing_ms < previous_rtt_ms and self._last_queue_ms > self._queue_ms
        self._recent.append(_Arrival(bits, sample.arrival_spacing_ms, busy))
        service_ms = self._service_ms(sample, now_ms)
        if self._stands():
            self._cut(self._delivered_bps(), now_ms)
        elif sample.wire_bytes >= _LONG_BYTES and service_ms is not None and service_ms >= _RESOLVED_MS:
            (self._cut if growing else self._add)(bits / service_ms * 1e3, now_ms)
        else:
            self._lower_bound.update(self._delivered_bps(), now_ms)
        return self.at(now_ms)

    def on_packet_train(self, measurement: PacketTrainSample, now_ms: float) -> Capacity:
        """Takes in what a train measured and returns the estimate."""
        if measurement.resolved:
            self._add(measurement.bps, now_ms)
        else:
            self._lower_bound.update(measurement.bps, now_ms)
        return self.at(now_ms)

    def on_one_way_delay(self, one_way_ms: float, now_ms: float) -> None:
        """Takes in how long a message of a few bytes was on its way, on the clocks that frames are measured with."""
        self._one_way_delay_ms.update(one_way_ms, now_ms)

    def at(self, now_ms: float) -> Capacity:
        """The estimate as of now."""
        measured_bps, lower_bps = self._median_bps(now_ms), self._lower_bound.at(now_ms)
        if measured_bps is not None:
            return Capacity(measured_bps, True, self._last_queue_ms)
        return Capacity(lower_bps, False, self._last_queue_ms)

    def lower_quartile_bps(self, now_ms: float) -> float | None:
        """What the link carried at the worse moments of the last second, or the estimate, if there were none."""
        recent = sorted(bps for at_ms, bps in self._measured if at_ms >= now_ms - _LOWER_QUARTILE_WINDOW_MS)
        return recent[len(recent) // 4] if recent else self.at(now_ms).bps

    def _median_bps(self, now_ms: float) -> float | None:
        while self._measured and self._measured[0][0] < now_ms - self._window_ms:
            self._measured.popleft()
        return median(bps for _, bps in self._measured) if self._measured else None

    def _own_ms(self, bits: float, now_ms: float) -> float:
        """How long a frame of so many bits takes to pass, as far as that is known."""
        bps = self._median_bps(now_ms)
        return 0.0 if bps is None else bits / bps * 1e3

    def _service_ms(self, sample: LinkSample, now_ms: float) -> float | None:
        """How long the link was at work on the frame, or None where no short message has shown how long the way is."""
        short_ms = self._one_way_delay_ms.at(now_ms)
        if short_ms is None or sample.arrival_spacing_ms is None:
            return None
        return min(sample.one_way_ms - short_ms, sample.arrival_spacing_ms)

    def _stands(self) -> bool:
        return len(self._recent) == _STANDING and all(each.busy for each in self._recent)

    def _cut(self, delivered_bps: float, now_ms: float) -> None:
        highest_bps = self.at(now_ms).bps
        if highest_bps is not None and highest_bps > delivered_bps:
            self._measured.clear()
            self._lower_bound.clear()
        self._add(delivered_bps, now_ms)

    def _add(self, bps: float, now_ms: float) -> None:
        self._measured.append((now_ms, bps))

    def _delivered_bps(self) -> float:
        spacing_ms = sum(each.spacing_ms for each in self._recent)
        return sum(each.bits for each in self._recent) / spacing_ms * 1e3


@dataclass(frozen=True, slots=True)
class _Arrival:
    bits: int
    spacing_ms: float
    busy: bool
