"""The capacity of the link: estimators of what acknowledged frames and packet trains measure."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from common.wire.traffic import wire_bytes


@dataclass(frozen=True, slots=True)
class LinkSample:
    """One acknowledged frame, or bundle.

    Intervals come from monotonic clocks, each of one end.

    Args:
        sequence: the frame's.
        message_bytes: size of its gRPC message.
        round_trip_time_ms: from sending to acknowledgement, without `hold_ms`.
        hold_ms: decoding and reconstruction of one of its frames at the receiver, before the acknowledgement.
        sent_spacing_ms: since the previous frame was sent on this stream; None for the first.
        arrival_spacing_ms: since the previous frame arrived at the receiver; None for the first.
        waited: the frame was ready while the window was full, so the link and not the source held it back.
        frames: of the message.
        face_bytes: of the message, those of a face's picture.
    """

    sequence: int
    message_bytes: int
    round_trip_time_ms: float
    hold_ms: float
    sent_spacing_ms: float | None
    arrival_spacing_ms: float | None
    waited: bool
    frames: int = 1
    face_bytes: int = 0

    @property
    def wire_bytes(self) -> int:
        """Approximate size of the frame on the link, headers included."""
        return wire_bytes(self.message_bytes)


class WindowedExtreme:
    """The smallest or largest value of the last `window_ms` milliseconds."""

    def __init__(self, window_ms: float, *, largest: bool = False) -> None:
        self._window_ms = window_ms
        self._sign = -1.0 if largest else 1.0
        # Monotonic queue, rising in sign · value: a value that is older and no better can never be the extreme again.
        self._candidates: deque[tuple[float, float]] = deque()

    def update(self, value: float, now_ms: float) -> float:
        signed = self._sign * value
        while self._candidates and self._candidates[-1][1] >= signed:
            self._candidates.pop()
        self._candidates.append((now_ms, signed))
        self._drop_old(now_ms)
        return self._sign * self._candidates[0][1]

    def at(self, now_ms: float) -> float | None:
        """The extreme as of now; None if there is no value in the window."""
        self._drop_old(now_ms)
        return self._sign * self._candidates[0][1] if self._candidates else None

    def clear(self) -> None:
        self._candidates.clear()

    def _drop_old(self, now_ms: float) -> None:
        while self._candidates and self._candidates[0][0] < now_ms - self._window_ms:
            self._candidates.popleft()


# Arrival times are read by a process among others: shorter spacings cannot be measured.
_CLOCK_RESOLUTION_MS = 3.0
# The message before the last keeps the link busy while the last is written; its size, relative to the last.
_REFERENCE_SHARE = 1 / 4
# From this size of the last message on, a short message first wakes the receiver.
_WAKE_UP_FROM_BYTES = 600
# Transmission time of a train's last message.
_DURATION_MS = 10.0
# Smallest size of a message, and largest of the last one. TCP starts with a congestion window of ten packets and
# shrinks a larger one that is not used: the excess arrives a round trip later and does not measure the link.
_LEAST_BYTES, _MOST_BYTES = 40, 10_000
# Most of the capacity that trains may use, and the shortest time between two.
_SHARE, _INTERVAL_MS = 0.04, 350.0
# Spacings from here on are exact to a few percent.
_PRECISE_MS = 6.0


@dataclass(frozen=True, slots=True)
class PacketTrainSample:
    """What one packet train measured.

    Args:
        bps: bits per second, headers included.
        spacing_ms: what the last message took to arrive.
    """

    bps: float
    spacing_ms: float

    @property
    def resolved(self) -> bool:
        """Whether the spacing was long enough for the clocks; otherwise `bps` is only a lower bound."""
        return self.spacing_ms >= _CLOCK_RESOLUTION_MS

    @property
    def precise(self) -> bool:
        """Whether the clocks' resolution matters little."""
        return self.spacing_ms >= _PRECISE_MS


def measure(arrivals_ms: Sequence[float], message_bytes: Sequence[int]) -> PacketTrainSample:
    """The rate at which a train's last message arrived, right behind the one before.

    Earlier messages only wake the receiver: they find its process asleep and are time-stamped late.

    Args:
        arrivals_ms: (N,) arrival of each message at the receiver, N >= 2.
        message_bytes: (N,) their sizes, without headers.
    """
    spacing_ms = arrivals_ms[-1] - arrivals_ms[-2]
    return PacketTrainSample(8e3 * wire_bytes(message_bytes[-1]) / max(spacing_ms, _CLOCK_RESOLUTION_MS), spacing_ms)


def message_sizes(expected_bps: float) -> tuple[int, ...]:
    """Sizes of a train's messages in bytes, without headers: long enough to resolve this capacity."""
    wanted = int(expected_bps * _DURATION_MS / 8e3)
    last = min(max(wanted - wire_bytes(0), _LEAST_BYTES), _MOST_BYTES)
    reference = max(int(last * _REFERENCE_SHARE), _LEAST_BYTES)
    return (reference, last) if last < _WAKE_UP_FROM_BYTES else (_LEAST_BYTES, reference, last)


def pause_ms(messages: Sequence[int], expected_bps: float) -> float:
    """Time from a train to the next, so that trains do not delay frames."""
    return max(_INTERVAL_MS, 8e3 * sum(map(wire_bytes, messages)) / (_SHARE * expected_bps))


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


# φ, the weight of the old value, and the length of the sliding window.
_PHI, _BANDWIDTH_WINDOW_MS = 0.8, 1000.0
# The paper leaves the weights of (16) open; recent round trips describe the present link better.
_HALF_LIFE_MS, _DELAY_WINDOW_MS = 500.0, 5000.0


class PaperBandwidth:
    """B(t) = φ B(t−1) + (1−φ) ΣS_i / ΣΔt_i (AFLSC, eq. 15), in bits per second; None before the first interval.

    S_i is a frame's size and Δt_i the time since the previous frame arrived, over a sliding window. B(t) measures the
    sending rate, not the capacity: a sender that never fills the link measures its own rate. It is therefore reported,
    but drives the compression only under `--policy paper`.
    """

    def __init__(self) -> None:
        self.bandwidth_bps: float | None = None
        self._window: deque[tuple[float, int, float]] = deque()

    def update(self, sample: LinkSample, now_ms: float) -> None:
        """Adds an acknowledged frame; the first frame of a stream has no interval and is ignored."""
        if sample.arrival_spacing_ms:
            self._window.append((now_ms, sample.message_bytes * 8, sample.arrival_spacing_ms))
        while self._window and self._window[0][0] < now_ms - _BANDWIDTH_WINDOW_MS:
            self._window.popleft()
        if self._window:
            _, bits, spacings_ms = zip(*self._window, strict=True)
            window_bps = sum(bits) / sum(spacings_ms) * 1e3
            old_bps = window_bps if self.bandwidth_bps is None else self.bandwidth_bps
            self.bandwidth_bps = _PHI * old_bps + (1 - _PHI) * window_bps


class PaperDelay:
    """D(t) = Σ w_i rtt_i / Σ w_i (AFLSC, eq. 16), weights halving with age, in milliseconds; None before a sample."""

    def __init__(self) -> None:
        self.delay_ms: float | None = None
        self._round_trips: deque[tuple[float, float]] = deque()

    def update(self, sample: LinkSample, now_ms: float) -> None:
        self._round_trips.append((now_ms, sample.round_trip_time_ms))
        while self._round_trips[0][0] < now_ms - _DELAY_WINDOW_MS:
            self._round_trips.popleft()
        weights = [0.5 ** ((now_ms - at_ms) / _HALF_LIFE_MS) for at_ms, _ in self._round_trips]
        weighted = sum(weight * rtt_ms for weight, (_, rtt_ms) in zip(weights, self._round_trips, strict=True))
        self.delay_ms = weighted / sum(weights)
