"""When bytes may leave: budgets, pacing, the congestion window, and probes for more capacity.

Holds everything that a link carries below a rate, in both directions, as `--budget-kbit` asks.

Frames leave evenly spaced: whatever else leaves or arrives delays the next ones a little, so that with a smaller budget
fewer of them leave, each as precise as before.  Blobs and packet trains have a share of the budget.

Paces blobs behind frames: few bytes at a time, in the capacity that frames leave, and none while a frame is late.

Bytes in flight cannot be recalled.  A link that carries megabits now may fall to a packet a second in a moment; bytes
queued before a frame then delay it, and TCP may retransmit them.  So few bytes of blobs are in flight at any time, and
more the longer the link has not stalled: however far the capacity falls, frames are late for a small share of the time
observed.

Congestion window: the frames of one bandwidth-delay product in flight, plus at most one in a queue.

Of W frames in flight, W · (1 − minimum round trip / present round trip) are queued (TCP Vegas, Brakmo 1995), and a
queued frame is a stale frame.  The window grows if frames had to wait for it and hardly any are queued: at first by a
factor of 1.5, later by one frame.  It shrinks by the number of queued frames as soon as that exceeds about one.  A
queue that never drains would be taken for a longer path: so every 15 s without a round trip near the minimum, the
window is halved to measure the minimum again (as BBR's ProbeRTT does).  A live source never needs more than the frames
that it captures in a round trip, plus one: a larger window would only fill when the link's capacity falls.

Schedules packet trains of heartbeats, which measure the link while frames leave most of it unused.

A train follows a frame closely, so that it is gone before the next frame, and takes about 12 ms of the link, no more
than a few percent of it on average.  Their size is learnt from train to train.  No train is sent while frames measure
the link themselves, because they were queued.

What is worth knowing decides what is sent.  Trains resolve capacities that labels or blobs could use, up to
`_CEILING_BPS`; above it the link carries at least that.  They carry waiting blobs first and padding where there are too
few; padding has a budget of its own, and once the link is known to carry many times the frames, it is rare.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from common.wire.convert import Heartbeat
from common.wire.traffic import wire_bytes
from sender.congestion.capacity import LinkSample, PacketTrainSample, WindowedExtreme, measure, message_sizes, pause_ms


class ByteBudget:
    """Bytes that may be spent in any window of a length; times are milliseconds of one monotonic clock.

    Args:
        bits_per_second: mean over the window, 0 or more.
        window_ms: above 0.
    """

    def __init__(self, bits_per_second: float, window_ms: float) -> None:
        self._most_bytes = bits_per_second * window_ms / 8e3
        self._window_ms = window_ms
        self._spent: deque[tuple[float, float]] = deque()
        self._spent_bytes = 0.0

    def spend(self, size: float, now_ms: float) -> None:
        """Records bytes, whether or not they were left."""
        self._spent.append((now_ms, size))
        self._spent_bytes += size

    def left(self, now_ms: float) -> float:
        """Bytes that may be spent now; negative if more were spent than the budget has."""
        while self._spent and self._spent[0][0] <= now_ms - self._window_ms:
            self._spent_bytes -= self._spent.popleft()[1]
        return self._most_bytes - self._spent_bytes


# Of the budget: the rest is for what is counted late, such as pure acknowledgements of TCP.
USED_SHARE = 0.96
# Share that blobs may use over this time; a chunk is not tiny.
_BLOB_SHARE, _BLOB_WINDOW_MS = 0.25, 2000.0
# What was left lately makes up for what comes at once.
_CREDIT_MS = 80.0
# What comes between messages of labels, such as the acknowledgement of several: each of the next ones pays a share of
# it, but for what is more than a heartbeat with its echo.
_OWED_SHARE, _MOST_OWED_BYTES = 0.2, 150.0
# A live frame that has waited gives way to one that is captured so soon: the same bytes then show a fresher one.
_FRESHER_MS = 40.0
# The longest pause after more bytes than the budget has, such as those of a handshake.
_MOST_PAUSE_MS = 1000.0
# Of a chunk besides its data: headers and the answer; and the least data that is worth them.
_CHUNK_BYTES, _LEAST_DATA_BYTES = 190, 60


class Meter:
    """Decides when a frame may leave, and how many bytes of blobs; times are milliseconds of one monotonic clock.

    Args:
        budget_bps: bits per second on average over a second, to within a frame, headers of TCP and IP included;
            infinite for no limit.
    """

    def __init__(self, budget_bps: float = math.inf) -> None:
        self._limits = math.isfinite(budget_bps)
        self._used_bps = USED_SHARE * budget_bps
        self._blobs = ByteBudget(_BLOB_SHARE * budget_bps, _BLOB_WINDOW_MS)
        self._free_ms = -math.inf
        self._since_ms = math.inf
        self._owed_bytes = 0.0
        self._lets_frame_go = False

    def connecting(self, now_ms: float) -> None:
        """Records that a connection is sought: what it takes is counted afterwards, and has had the time since."""
        self._since_ms = now_ms

    def let_frame_go(self) -> None:
        """Lets the next frame leave at once; the one after it waits the longer."""
        self._lets_frame_go = True

    def spend(self, wire_bytes: float, now_ms: float, *, labels: bool = True) -> None:
        """Records bytes on the link, in either direction; below 0 if it were fewer than recorded.

        Args:
            labels: they are a message of labels; others delay not only the next one.
        """
        if self._limits:
            self._lets_frame_go &= not labels
            owed_bytes = self._owed_bytes if labels else self._owed_bytes + wire_bytes
            left_bytes = (1 - _OWED_SHARE) * owed_bytes if labels else owed_bytes
            self._owed_bytes = max(min(left_bytes, _MOST_OWED_BYTES), -_MOST_OWED_BYTES)
            wire_bytes = owed_bytes - self._owed_bytes + (wire_bytes if labels else 0.0)
            since_ms = now_ms - _CREDIT_MS
            if not labels:
                since_ms, self._since_ms = min(since_ms, self._since_ms), math.inf
            free_ms = max(self._free_ms, since_ms) + 8e3 * wire_bytes / self._used_bps
            self._free_ms = min(free_ms, now_ms + _MOST_PAUSE_MS)

    def blob_sent(self, data_bytes: float, now_ms: float) -> None:
        """Records a part of a blob, or a message of a packet train, besides `spend`."""
        if self._limits:
            self._blobs.spend(data_bytes + _CHUNK_BYTES, now_ms)

    def frame_wait_ms(self, now_ms: float, offered_ms: float = math.inf) -> float:
        """Time until the next frame may leave (`offered_ms`: since when the newest one waits, of a live source)."""
        if self._lets_frame_go:
            return 0.0
        gives_way_ms = _FRESHER_MS if offered_ms < self._free_ms else 0.0
        return max(self._free_ms + gives_way_ms - now_ms, 0.0)

    def part_bytes(self, most: int) -> int:
        """Bytes of the largest part, up to `most`, of something that has to leave before a frame: half a pause."""
        allowed = self._used_bps * _MOST_PAUSE_MS / 16e3 - _CHUNK_BYTES
        return most if allowed >= most else max(int(allowed), _LEAST_DATA_BYTES)

    def blob_bytes(self, now_ms: float) -> float:
        """Bytes of data of blobs that may leave now, behind a frame."""
        data_bytes = self._blobs.left(now_ms) - _CHUNK_BYTES
        return data_bytes if data_bytes >= _LEAST_DATA_BYTES else 0.0


_MIN_RTT_WINDOW_MS = 10_000.0
_RECENT_HOLDS = 8
# Bytes that may be in flight: at first, for every second without a stall, and at most. On a link that falls to a packet
# a second, a packet of a blob costs two or three seconds; that is risked after two minutes.
_INITIAL_BYTES, _BYTES_PER_CALM_S, _MAX_BYTES = 200, 10.0, 16_000
# Transmission time of what follows a frame, so that the next frame finds the link idle.
_MAX_TRANSMISSION_MS = 10.0
# Smaller chunks would be mostly headers.
_MIN_CHUNK_BYTES = 100
# An acknowledgement this late means that the capacity has fallen: blobs pause.
_OVERDUE_MS, _OVERDUE_PAUSE_MS = 15.0, 500.0
# A round trip this much above the minimum means that the link has stalled: blobs pause for longer.
_STALL_MS, _STALL_PAUSE_MS = 300.0, 10_000.0


class BackgroundPacer:
    """Decides how many bytes of blobs may follow a frame; times are milliseconds of one monotonic clock."""

    def __init__(self) -> None:
        self._in_flight: dict[int, tuple[float, int]] = {}
        self._min_rtt_ms = WindowedExtreme(_MIN_RTT_WINDOW_MS)
        self._holds_ms: deque[float] = deque(maxlen=_RECENT_HOLDS)
        self._paused_until_ms = -float("inf")
        self._calm_since_ms: float | None = None

    def restart(self) -> None:
        """Resets the state for a new stream: nothing is in flight."""
        self._in_flight.clear()

    def sent(self, sequence: int, payload_bytes: int, now_ms: float) -> None:
        self._in_flight[sequence] = (now_ms, wire_bytes(payload_bytes))

    def acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        """Records an acknowledged frame; earlier frames will not be acknowledged any more."""
        for sequence in [sequence for sequence in self._in_flight if sequence <= sample.sequence]:
            del self._in_flight[sequence]
        min_rtt_ms = self._min_rtt_ms.update(sample.round_trip_time_ms, now_ms)
        self._holds_ms.append(sample.hold_ms)
        stalled = sample.round_trip_time_ms > min_rtt_ms + _STALL_MS
        if stalled or self._calm_since_ms is None:
            self._calm_since_ms = now_ms
        if stalled:
            self._pause(now_ms, _STALL_PAUSE_MS)

    def allowed_bytes(self, in_flight_bytes: int, capacity_bps: float | None, free_bytes: float, now_ms: float) -> int:
        """How many bytes of blobs may be sent now, right behind a frame.

        Args:
            capacity_bps: conservative estimate of the capacity; None while it is unknown.
            free_bytes: what frames leave of the capacity, per frame.
        """
        min_rtt_ms = self._min_rtt_ms.at(now_ms)
        if capacity_bps is None or min_rtt_ms is None or self._calm_since_ms is None:
            return 0
        if self._overdue(capacity_bps, min_rtt_ms, now_ms):
            self._pause(now_ms, _OVERDUE_PAUSE_MS)
        if now_ms < self._paused_until_ms:
            return 0
        risked_bytes = min(_INITIAL_BYTES + _BYTES_PER_CALM_S * (now_ms - self._calm_since_ms) / 1e3, _MAX_BYTES)
        unnoticed_bytes = _MAX_TRANSMISSION_MS * capacity_bps / 8e3
        allowed = int(min(risked_bytes - in_flight_bytes, unnoticed_bytes, free_bytes))
        return allowed if allowed >= _MIN_CHUNK_BYTES else 0

    def _pause(self, now_ms: float, length_ms: float) -> None:
        self._paused_until_ms = max(self._paused_until_ms, now_ms + length_ms)

    def _overdue(self, capacity_bps: float, min_rtt_ms: float, now_ms: float) -> bool:
        """Whether the acknowledgement of a frame in flight is late."""
        hold_ms, queued_bytes = max(self._holds_ms, default=0.0), 0
        for sent_ms, size in self._in_flight.values():
            queued_bytes += size
            expected_ms = sent_ms + min_rtt_ms + hold_ms + queued_bytes * 8e3 / capacity_bps
            if now_ms > expected_ms + _OVERDUE_MS:
                return True
        return False


_CONGESTION_RTT_WINDOW_MS = 30_000.0
_MIN_RTT_PROBE_INTERVAL_MS = 15_000.0
# Up to this multiple of the minimum round trip, the queue is considered empty.
_EMPTY_QUEUE_RTT_RATIO = 1.15
_INITIAL_FRAMES = 2
_GROW_BELOW_QUEUED, _SHRINK_ABOVE_QUEUED = 0.6, 1.15
_SLOW_START_FACTOR = 1.5
# A window that was wider shrinks to two first: its queue does not prove that two frames are too many.
_FIRST_SHRINK_TO_FRAMES = 2
_OFFERS_FOR_FRAME_RATE = 9
_HOLD_AFTER_SHRINK_MS = 4000.0
# Single round trips are late by chance; the minimum of this many consecutive ones shows a standing queue.
_STANDING_QUEUE_FRAMES = 4


class CongestionWindow:
    """The window, in frames. Raises ValueError if `most` is less than one frame."""

    def __init__(self, most: int) -> None:
        self._min_rtt_ms = WindowedExtreme(_CONGESTION_RTT_WINDOW_MS)
        self._recent_rtts_ms: deque[float] = deque(maxlen=_STANDING_QUEUE_FRAMES)
        self._offers_ms: deque[float] = deque(maxlen=_OFFERS_FOR_FRAME_RATE)
        self.restart(most)

    @property
    def frames(self) -> int:
        """How many frames may be unacknowledged now."""
        return self._frames

    @property
    def queues(self) -> bool:
        """Whether messages queue on the link, as far as is known."""
        return self._queues

    def restart(self, most: int) -> None:
        """Resets the state for a new stream, whose path may differ.

        Raises:
            ValueError: `most` is less than one frame.
        """
        if most < 1:
            raise ValueError(f"a window has at least one frame, not {most}")
        self._most = most
        self._frames = min(_INITIAL_FRAMES, most)
        self._min_rtt_ms.clear()
        self._recent_rtts_ms.clear()
        self._slow_start, self._window_limited, self._queues = True, False, True
        self._hold_until_ms = self._changed_ms = -math.inf
        self._min_rtt_seen_ms: float | None = None

    def offered(self, now_ms: float) -> None:
        """Records that a live source has captured a frame, whether or not it will be sent."""
        self._offers_ms.append(now_ms)

    def update(self, sample: LinkSample, now_ms: float) -> int:
        """Adds an acknowledged frame and returns `frames`."""
        rtt_ms = max(sample.round_trip_time_ms + sample.hold_ms, 0.01)
        min_rtt_ms = self._min_rtt_ms.update(rtt_ms, now_ms)
        if self._min_rtt_seen_ms is None or rtt_ms < _EMPTY_QUEUE_RTT_RATIO * min_rtt_ms:
            self._min_rtt_seen_ms = now_ms
        if now_ms - rtt_ms < self._changed_ms:
            return self._frames  # sent before the window last changed
        self._recent_rtts_ms.append(rtt_ms)
        self._window_limited |= sample.waited
        if len(self._recent_rtts_ms) == _STANDING_QUEUE_FRAMES:
            self._adapt(self._frames * (1 - min_rtt_ms / min(self._recent_rtts_ms)), now_ms)
        return self._frames

    def _adapt(self, queued_frames: float, now_ms: float) -> None:
        assert self._min_rtt_seen_ms is not None
        self._queues = queued_frames >= _GROW_BELOW_QUEUED
        if queued_frames > _SHRINK_ABOVE_QUEUED:
            self._slow_start = False
            self._hold_until_ms = now_ms + _HOLD_AFTER_SHRINK_MS
            fewest = _FIRST_SHRINK_TO_FRAMES if self._frames > _FIRST_SHRINK_TO_FRAMES else 1
            self._change(max(math.floor(self._frames - queued_frames) + 1, fewest), now_ms)
        elif now_ms - self._min_rtt_seen_ms > _MIN_RTT_PROBE_INTERVAL_MS:
            self._min_rtt_seen_ms = now_ms
            self._change(self._frames // 2, now_ms)
        elif queued_frames < _GROW_BELOW_QUEUED and self._window_limited and now_ms >= self._hold_until_ms:
            grown = math.ceil(_SLOW_START_FACTOR * self._frames) if self._slow_start else self._frames + 1
            self._change(grown, now_ms)

    def _source_limit(self, now_ms: float) -> int:
        """Frames that a live source captures in a minimum round trip, plus one; `most` while that is unknown."""
        min_rtt_ms = self._min_rtt_ms.at(now_ms)
        if len(self._offers_ms) < _OFFERS_FOR_FRAME_RATE or min_rtt_ms is None:
            return self._most
        interval_ms = max((self._offers_ms[-1] - self._offers_ms[0]) / (_OFFERS_FOR_FRAME_RATE - 1), 1.0)
        return math.ceil(min_rtt_ms / interval_ms) + 1

    def _change(self, frames: int, now_ms: float) -> None:
        self._frames, self._changed_ms = min(max(1, frames), self._source_limit(now_ms), self._most), now_ms
        self._window_limited = False
        self._recent_rtts_ms.clear()


# The first train suits any link from 20 kbit/s on; after an unresolved train the next may be this much larger.
_INITIAL_EXPECTED_BPS = 60_000.0
_GROWTH = 4.0
_MIN_EXPECTED_BPS, _MAX_EXPECTED_BPS = 1e3, 40e6
# Capacities above it are not worth padding. A train for the lower rate that arrives unresolved shows that the link
# carries as much.
_CEILING_BPS, _CEILING_TRAIN_BPS = 2.5e6, 0.75e6
# The mean rate of padding, with its headers, over this time.
PROBE_BPS, _PROBE_WINDOW_MS = 5000.0, 10_000.0
_PAUSE_AFTER_UNRESOLVED_MS = 100.0
# Echoes are lost with their stream, or over QUIC; after this time they are not expected any more.
_ECHO_TIMEOUT_MS = 2000.0
# A frame that was held back by the window and queued measures the link as well as a train does; a train behind a very
# late frame would only add to the queue.
_FRAME_MEASUREMENT_VALID_MS = 300.0
_QUEUED_MS, _VERY_LATE_MS = 20.0, 50.0
# Above this share of the capacity, frames queue behind each other.
_MAX_FRAME_SHARE = 0.5
# Trains are frequent until the estimate is a median of so many.
_FREQUENT_TRAINS = 3
# Where the capacity is so many times what frames use, trains may be rare: estimates expire after 16 s, and blobs follow
# a falling capacity sooner.
_AMPLE_CAPACITY = 8.0
_RARE_PAUSE_MS, _RARE_PAUSE_WITH_BLOBS_MS = 14_000.0, 2000.0
# Weight of the old value in the smoothed rate of frames, per frame at 30 Hz.
_SMOOTHING, _SMOOTHING_FRAME_MS = 0.9, 33.0


class Prober:
    """Decides when a packet train is sent and what it measured; times are milliseconds of one monotonic clock.

    Args:
        probe_bps: most bits per second of padding, with its headers, over ten seconds; 0 sends no trains.
    """

    def __init__(self, probe_bps: float = PROBE_BPS) -> None:
        self._probes = probe_bps > 0
        self._padding = ByteBudget(probe_bps, _PROBE_WINDOW_MS)
        self._expected_bps = _INITIAL_EXPECTED_BPS
        self._frames_bps = 0.0
        self._min_rtt_ms = WindowedExtreme(_MIN_RTT_WINDOW_MS)
        self._last_frame_ms: float | None = None
        self.restart()

    def restart(self) -> None:
        """Resets the state for a new stream: trains of the old one will not be echoed."""
        self._awaited: dict[int, int] = {}
        self._arrivals: list[tuple[float, int]] = []
        self._pause_ms = 0.0
        self._measured_ms = self._train_sent_ms = -math.inf
        self._frequent_left = _FREQUENT_TRAINS

    def frame_sent(self, message_bytes: int, now_ms: float) -> None:
        if self._last_frame_ms is not None:
            spacing_ms = max(now_ms - self._last_frame_ms, 1.0)
            weight = _SMOOTHING ** (spacing_ms / _SMOOTHING_FRAME_MS)
            self._frames_bps = weight * self._frames_bps + (1 - weight) * wire_bytes(message_bytes) * 8e3 / spacing_ms
        self._last_frame_ms = now_ms

    def acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        """Records an acknowledged frame, which may have measured the link as well as a train does."""
        min_rtt_ms = self._min_rtt_ms.update(sample.round_trip_time_ms, now_ms)
        late_ms = sample.round_trip_time_ms - min_rtt_ms
        queued = late_ms > _QUEUED_MS if sample.waited else late_ms > _VERY_LATE_MS + min_rtt_ms
        if queued:
            self._measured_ms = now_ms
        if queued and sample.waited:
            self._frequent_left = _FREQUENT_TRAINS

    def packet_train(self, now_ms: float, useful_bytes: int = 0) -> tuple[int, ...]:
        """Sizes of the messages to send behind the frame that has just left; empty if no train is due.

        Args:
            useful_bytes: of blobs that wait, which take the place of padding.
        """
        if self._awaited and now_ms - self._train_sent_ms > _ECHO_TIMEOUT_MS:
            self._awaited.clear()
        if not self._probes or self._awaited or now_ms - self._measured_ms < _FRAME_MEASUREMENT_VALID_MS:
            return ()
        busy = self._frames_bps > _MAX_FRAME_SHARE * self._expected_bps
        if busy and self._expected_bps > _INITIAL_EXPECTED_BPS:
            return ()
        sizes, padded_sizes = message_sizes(self._expected_bps), message_sizes(self._padded_bps)
        if now_ms < self._train_sent_ms + self._pause(blobs=useful_bytes >= sum(padded_sizes)):
            return ()
        if useful_bytes >= sum(sizes):
            return sizes
        affordable = sum(map(wire_bytes, padded_sizes)) - useful_bytes <= self._padding.left(now_ms)
        return padded_sizes if affordable else ()

    def sent(self, sizes: Mapping[int, int], now_ms: float) -> None:
        """Records that a train is about to leave.

        Args:
            sizes: by the time of sending of each heartbeat, bytes since the one before, itself included.
        """
        self._awaited = dict(sizes)
        self._arrivals = []
        self._train_sent_ms = now_ms
        self._pause_ms = pause_ms(tuple(sizes.values()), self._expected_bps)

    def padded(self, heartbeat_bytes: int, now_ms: float) -> None:
        """Records the departure of a heartbeat of a train, of this size with its headers."""
        self._padding.spend(heartbeat_bytes, now_ms)

    @property
    def _padded_bps(self) -> float:
        """The capacity that a train of padding is long enough for."""
        return self._expected_bps if self._expected_bps <= _CEILING_BPS else _CEILING_TRAIN_BPS

    def _pause(self, *, blobs: bool) -> float:
        """Time from the last train to the next."""
        if self._frequent_left or self._expected_bps < _AMPLE_CAPACITY * self._frames_bps:
            return self._pause_ms
        return max(self._pause_ms, _RARE_PAUSE_WITH_BLOBS_MS if blobs else _RARE_PAUSE_MS)

    def echoed(self, echo: Heartbeat) -> PacketTrainSample | None:
        """Handles the echo of any heartbeat; returns the measurement if it completes a train."""
        size = self._awaited.pop(echo.sent_ns, None)
        if size is None:
            return None
        self._arrivals.append((echo.received_ns / 1e6, size))
        if self._awaited:
            return None
        arrivals_ms, sizes = zip(*self._arrivals, strict=True)
        measurement = measure(arrivals_ms, sizes)
        self._learn(measurement)
        return measurement

    def _learn(self, measurement: PacketTrainSample) -> None:
        if measurement.resolved:
            if not 0.5 < measurement.bps / self._expected_bps < 2.0:
                self._frequent_left = _FREQUENT_TRAINS
            self._expected_bps = max(min(measurement.bps, _GROWTH * self._expected_bps), _MIN_EXPECTED_BPS)
            self._frequent_left = max(self._frequent_left - measurement.precise, 0)
            return
        known_ample = self._expected_bps > _CEILING_BPS
        self._expected_bps = max(min(_GROWTH * self._expected_bps, _MAX_EXPECTED_BPS), _CEILING_TRAIN_BPS)
        self._frequent_left = 0 if known_ample or self._expected_bps > _CEILING_BPS else _FREQUENT_TRAINS
        self._pause_ms = _PAUSE_AFTER_UNRESOLVED_MS


def padded(heartbeat: Heartbeat, message_bytes: int, bare_bytes: int) -> Heartbeat:
    """Pads a heartbeat of `bare_bytes` to a size."""
    return replace(heartbeat, padding=bytes(max(message_bytes - bare_bytes, 0)))
