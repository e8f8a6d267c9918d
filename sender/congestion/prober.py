"""Schedules packet trains of heartbeats, which measure the link while frames leave most of it unused.

A train follows a frame closely, so that it is gone before the next frame, and takes about 12 ms of the link, no more
than a few percent of it on average.  Their size is learnt from train to train.  No train is sent while frames measure
the link themselves, because they are long or were queued.

On a link that carries many times the frames, a train of many kilobytes behind every tenth frame would be most of what
the sender sends.  Once the capacity is known, trains are rare there, until frames queue or blobs use the capacity.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from common.wire.convert import Heartbeat
from sender.congestion.packet_train import PacketTrainSample, measure, message_sizes, pause_ms, rare_pause_ms
from sender.congestion.samples import LinkSample, wire_bytes
from sender.congestion.windowed_extreme import WindowedExtreme

# The first train suits any link from 20 kbit/s on; after an unresolved train the next may be this much larger.
_INITIAL_EXPECTED_BPS = 60_000.0
_GROWTH = 4.0
_MIN_EXPECTED_BPS, _MAX_EXPECTED_BPS = 1e3, 40e6
_PAUSE_AFTER_UNRESOLVED_MS = 100.0
# Echoes are lost only with their stream; after this time they are not expected any more.
_ECHO_TIMEOUT_MS = 2000.0
# A frame of this size measures the link as well as a train does.
_LONG_FRAME_BYTES = 3000
_FRAME_MEASUREMENT_VALID_MS = 300.0
# So does a frame that was held back by the window and queued; a train behind a very late frame would only add to the
# queue.
_QUEUED_MS, _VERY_LATE_MS, _MIN_RTT_WINDOW_MS = 20.0, 50.0, 10_000.0
# Above this share of the capacity, frames queue behind each other.
_MAX_FRAME_SHARE = 0.5
# Trains are frequent until the estimate, a median of so many, is complete; and while blobs were sent lately.
_FREQUENT_TRAINS, _BLOBS_LATELY_MS = 9, 1000.0
# Where the capacity is so many times what frames use, trains may be rare.
_AMPLE_CAPACITY = 8.0
# Weight of the old value in the smoothed rate of frames, per frame at 30 Hz.
_SMOOTHING, _SMOOTHING_FRAME_MS = 0.9, 33.0


class Prober:
    """Decides when a packet train is sent and what it measured; times are milliseconds of one monotonic clock."""

    def __init__(self) -> None:
        self._expected_bps = _INITIAL_EXPECTED_BPS
        self._frames_bps = 0.0
        self._min_rtt_ms = WindowedExtreme(_MIN_RTT_WINDOW_MS)
        self._last_frame_ms: float | None = None
        self.restart()

    def restart(self) -> None:
        """Resets the state for a new stream: trains of the old one will not be echoed."""
        self._awaited: dict[int, int] = {}
        self._arrivals: list[tuple[float, int]] = []
        self._next_ms = self._next_rare_ms = -math.inf
        self._measured_ms = self._train_sent_ms = self._blob_sent_ms = -math.inf
        self._frequent_left = _FREQUENT_TRAINS

    def frame_sent(self, message_bytes: int, now_ms: float) -> None:
        if self._last_frame_ms is not None:
            spacing_ms = max(now_ms - self._last_frame_ms, 1.0)
            weight = _SMOOTHING ** (spacing_ms / _SMOOTHING_FRAME_MS)
            self._frames_bps = weight * self._frames_bps + (1 - weight) * wire_bytes(message_bytes) * 8e3 / spacing_ms
        self._last_frame_ms = now_ms

    def blob_sent(self, now_ms: float) -> None:
        """Records the departure of a part of a blob."""
        self._blob_sent_ms = now_ms

    def acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        """Records an acknowledged frame, which may have measured the link as well as a train does."""
        min_rtt_ms = self._min_rtt_ms.update(sample.round_trip_time_ms, now_ms)
        late_ms = sample.round_trip_time_ms - min_rtt_ms
        queued = late_ms > _QUEUED_MS if sample.waited else late_ms > _VERY_LATE_MS + min_rtt_ms
        long = sample.message_bytes >= _LONG_FRAME_BYTES
        if queued or long:
            self._measured_ms = now_ms
        if long or (queued and sample.waited):
            self._frequent_left = _FREQUENT_TRAINS

    def packet_train(self, now_ms: float) -> tuple[int, ...]:
        """Sizes of the messages to send behind the frame that has just left; empty if no train is due."""
        if self._awaited and now_ms - self._train_sent_ms > _ECHO_TIMEOUT_MS:
            self._awaited.clear()
        if self._awaited or now_ms < self._due_ms(now_ms) or now_ms - self._measured_ms < _FRAME_MEASUREMENT_VALID_MS:
            return ()
        busy = self._frames_bps > _MAX_FRAME_SHARE * self._expected_bps
        if busy and self._expected_bps > _INITIAL_EXPECTED_BPS:
            return ()
        return message_sizes(self._expected_bps)

    def sent(self, heartbeats: Sequence[Heartbeat], sizes: Sequence[int], now_ms: float) -> None:
        self._awaited = {heartbeat.sent_ns: size for heartbeat, size in zip(heartbeats, sizes, strict=True)}
        self._arrivals = []
        self._train_sent_ms = now_ms
        pause = pause_ms(sizes, self._expected_bps)
        rare_pause = rare_pause_ms(sizes, self._frames_bps) if self._frames_bps else pause
        self._next_ms, self._next_rare_ms = now_ms + pause, now_ms + max(pause, rare_pause)

    def _due_ms(self, now_ms: float) -> float:
        blobs = now_ms - self._blob_sent_ms < _BLOBS_LATELY_MS
        ample = self._expected_bps >= _AMPLE_CAPACITY * self._frames_bps
        return self._next_ms if blobs or self._frequent_left or not ample else self._next_rare_ms

    def echoed(self, echo: Heartbeat, now_ms: float) -> PacketTrainSample | None:
        """Handles the echo of any heartbeat; returns the measurement if it completes a train."""
        size = self._awaited.pop(echo.sent_ns, None)
        if size is None:
            return None
        self._arrivals.append((echo.received_ns / 1e6, size))
        if self._awaited:
            return None
        arrivals_ms, sizes = zip(*self._arrivals, strict=True)
        measurement = measure(arrivals_ms, sizes)
        self._learn(measurement, now_ms)
        return measurement

    def _learn(self, measurement: PacketTrainSample, now_ms: float) -> None:
        if measurement.resolved:
            self._expected_bps = max(min(measurement.bps, _GROWTH * self._expected_bps), _MIN_EXPECTED_BPS)
        elif self._expected_bps < _MAX_EXPECTED_BPS:
            self._expected_bps = min(_GROWTH * self._expected_bps, _MAX_EXPECTED_BPS)
            self._next_ms = min(self._next_ms, now_ms + _PAUSE_AFTER_UNRESOLVED_MS)
            self._frequent_left = _FREQUENT_TRAINS
            return
        self._frequent_left = max(self._frequent_left - 1, 0)


def padded(heartbeat: Heartbeat, message_bytes: int, bare_bytes: int) -> Heartbeat:
    """Pads a heartbeat of `bare_bytes` to a size."""
    return replace(heartbeat, padding=bytes(max(message_bytes - bare_bytes, 0)))
