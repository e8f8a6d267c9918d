"""Paces blobs behind frames: few bytes at a time, in the capacity that frames leave, and none while a frame is late.

Bytes in flight cannot be recalled.  A link that carries megabits now may fall to a packet a second in a moment; bytes
queued before a frame then delay it, and TCP may retransmit them.  So few bytes of blobs are in flight at any time, and
more the longer the link has not stalled: however far the capacity falls, frames are late for a small share of the time
observed.
"""

from collections import deque

from common.wire.traffic import wire_bytes
from sender.congestion.samples import LinkSample
from sender.congestion.windowed_extreme import WindowedExtreme

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
