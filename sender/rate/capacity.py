"""How much the link could carry, as far as sending small frames can tell."""

from collections import deque
from dataclasses import dataclass

from sender.rate.delay import WindowedExtreme
from sender.rate.sample import LinkSample

# Fewer frames than this may be late by accident; a queue that all of them met is standing.
_STANDING = 4
# Below a full packet, two frames may share one, and their spacing says nothing.
_TRAIN_BYTES = 1200
# Frames that arrive at least this much further apart than they left were spread by the link.
_SPREAD = 2.0


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
    """Windowed maximum of what arrived while the link was full, cut as soon as a queue stands.

    A frame's rate is its size over its arrival spacing. It measures the link in two cases: the frames were sent back to
    back and the link spread them (a train), or the link had a queue of our own making. The latter shows when each of
    the last few frames was held back by the window, left before the one ahead had arrived, and arrived late; then the
    estimate falls at once to what is delivered, however high it was. (A receiver that is slow to reconstruct also holds
    frames back, but those leave long after the one ahead arrived.) Every other sample is limited by the application
    and only a lower bound.

    Args:
        window_ms: how long a measurement holds; after that the sender may try for more.
        queue_ms: lateness that all of the last frames must exceed for the queue to count as standing.
        floor_window_ms: over how long the shortest way is sought.
    """

    def __init__(self, window_ms: float = 10_000.0, queue_ms: float = 15.0, floor_window_ms: float = 30_000.0) -> None:
        if queue_ms <= 0:
            raise ValueError(f"queue_ms {queue_ms} is not above 0")
        self._queue_ms = queue_ms
        self._full = WindowedExtreme(window_ms, largest=True)
        self._lower_bound = WindowedExtreme(window_ms, largest=True)
        self._shortest_ms = WindowedExtreme(floor_window_ms)
        self._recent: deque[_Arrival] = deque(maxlen=_STANDING)
        self._last_queue_ms = 0.0
        self._last_rtt_ms = 0.0

    def update(self, sample: LinkSample, now_ms: float) -> Capacity:
        """Takes in one acknowledged frame and returns the estimate."""
        previous_rtt_ms, self._last_rtt_ms = self._last_rtt_ms, sample.round_trip_time_ms
        self._last_queue_ms = sample.one_way_ms - self._shortest_ms.update(sample.one_way_ms, now_ms)
        if sample.arrival_spacing_ms is None or sample.sent_spacing_ms is None:
            # A new stream: what came before the gap has nothing to do with what comes after.
            self._recent.clear()
            return self.at(now_ms)
        bits = sample.wire_bytes * 8
        busy = sample.waited and sample.sent_spacing_ms < previous_rtt_ms and self._last_queue_ms > self._queue_ms
        self._recent.append(_Arrival(bits, sample.arrival_spacing_ms, busy))
        if self._stands():
            self._cut(now_ms)
        elif _is_train(sample.message_bytes, sample.sent_spacing_ms, sample.arrival_spacing_ms):
            self._full.update(bits / sample.arrival_spacing_ms * 1e3, now_ms)
        else:
            self._lower_bound.update(self._delivered_bps(), now_ms)
        return self.at(now_ms)

    def at(self, now_ms: float) -> Capacity:
        """The estimate as of now."""
        full_bps, lower_bps = self._full.at(now_ms), self._lower_bound.at(now_ms)
        known = [bps for bps in (full_bps, lower_bps) if bps is not None]
        return Capacity(max(known, default=None), full_bps is not None, self._last_queue_ms)

    def _stands(self) -> bool:
        return len(self._recent) == _STANDING and all(each.busy for each in self._recent)

    def _cut(self, now_ms: float) -> None:
        delivered_bps = self._delivered_bps()
        highest_bps = self.at(now_ms).bps
        if highest_bps is not None and highest_bps > delivered_bps:
            self._full.clear()
            self._lower_bound.clear()
        self._full.update(delivered_bps, now_ms)

    def _delivered_bps(self) -> float:
        spacing_ms = sum(each.spacing_ms for each in self._recent)
        return sum(each.bits for each in self._recent) / spacing_ms * 1e3


@dataclass(frozen=True, slots=True)
class _Arrival:
    bits: int
    spacing_ms: float
    busy: bool


def _is_train(message_bytes: int, sent_spacing_ms: float, arrival_spacing_ms: float) -> bool:
    return message_bytes >= _TRAIN_BYTES and arrival_spacing_ms >= _SPREAD * max(sent_spacing_ms, 0.1)
