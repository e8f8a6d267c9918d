"""Schedules packet trains of heartbeats, which measure the link while frames leave most of it unused.

A train follows a frame closely, so that it is gone before the next frame, and takes about 12 ms of the link, no more
than a few percent of it on average.  Their size is learnt from train to train.  No train is sent while frames measure
the link themselves, because they were queued.

What is worth knowing decides what is sent.  Trains resolve capacities that labels or blobs could use, up to
`_CEILING_BPS`; above it the link carries at least that.  They carry waiting blobs first and padding where there are too
few; padding has a budget of its own, and once the link is known to carry many times the frames, it is rare.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from common.wire.convert import Heartbeat
from common.wire.traffic import wire_bytes
from sender.congestion.byte_budget import ByteBudget
from sender.congestion.packet_train import PacketTrainSample, measure, message_sizes, pause_ms
from sender.congestion.samples import LinkSample
from sender.congestion.windowed_extreme import WindowedExtreme

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
_QUEUED_MS, _VERY_LATE_MS, _MIN_RTT_WINDOW_MS = 20.0, 50.0, 10_000.0
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
