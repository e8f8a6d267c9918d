"""How much bulk may follow a frame: little at a time, in what labels leave free, and none while a frame is late.  Pure.

What was sent cannot be called back.  A link that carries megabits now may carry a packet a second in a moment, and what
stands before a frame then delays it, all the more since TCP sends it a second time.  So little bulk is on its way at
any moment, the more the longer the link has not stood still: of the time that somebody has watched, frames are then
late for a small share, whatever the link falls to.
"""

from collections import deque

from sender.congestion.paper_delay import WindowedExtreme
from sender.congestion.samples import LinkSample, wire_bytes

_ROUND_TRIP_WINDOW_MS = 10_000.0
_HOLDS = 8
# What may be on its way: so much at once, and so much more for every second of calm. Where a packet passes in a second,
# a packet of bulk costs two or three of them, and is risked after two minutes.
_FIRST_BYTES, _BYTES_PER_S, _MOST_BYTES = 200, 10.0, 16_000
# What follows a frame takes no longer than this: the next one finds the link free.
_GAP_MS = 10.0
# Less is mostly headers.
_LEAST_BYTES = 100
# An acknowledgement so much later than it should be means that the link is not what it was; so long bulk waits then,
# and where the link stood still.
_OVERDUE_MS, _PAUSE_MS = 15.0, 500.0
_STANDSTILL_MS, _LONG_PAUSE_MS = 300.0, 10_000.0


class BackgroundPacer:
    """Times in milliseconds of one monotonic clock."""

    def __init__(self) -> None:
        self._congestion_window: dict[int, tuple[float, int]] = {}
        self._round_trip_ms = WindowedExtreme(_ROUND_TRIP_WINDOW_MS)
        self._holds_ms: deque[float] = deque(maxlen=_HOLDS)
        self._pause_until_ms = -float("inf")
        self._calm_since_ms: float | None = None

    def restart(self) -> None:
        """A stream began: nothing is in flight."""
        self._congestion_window.clear()

    def sent(self, sequence: int, payload_bytes: int, now_ms: float) -> None:
        """A frame went out."""
        self._congestion_window[sequence] = (now_ms, wire_bytes(payload_bytes))

    def acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        """A frame was acknowledged; those before it will not be any more, if they were not."""
        for sequence in [each for each in self._congestion_window if each <= sample.sequence]:
            del self._congestion_window[sequence]
        shortest_ms = self._round_trip_ms.update(sample.round_trip_time_ms, now_ms)
        self._holds_ms.append(sample.hold_ms)
        stood_still = sample.round_trip_time_ms > shortest_ms + _STANDSTILL_MS
        if stood_still or self._calm_since_ms is None:
            self._calm_since_ms = now_ms
        if stood_still:
            self._pause(now_ms, _LONG_PAUSE_MS)

    def allowed_bytes(self, in_flight_bytes: int, capacity_bps: float | None, free_bytes: float, now_ms: float) -> int:
        """How many bytes of bulk may go now, right behind a frame.

        Args:
            in_flight_bytes: of bulk, sent and not there yet.
            capacity_bps: what the link can be relied on to carry; None while that is not known.
            free_bytes: what frames leave of that, a frame.
        """
        shortest_ms = self._round_trip_ms.at(now_ms)
        if capacity_bps is None or shortest_ms is None or self._calm_since_ms is None:
            return 0
        if self._overdue(capacity_bps, shortest_ms, now_ms):
            self._pause(now_ms, _PAUSE_MS)
        if now_ms < self._pause_until_ms:
            return 0
        risked_bytes = min(_FIRST_BYTES + _BYTES_PER_S * (now_ms - self._calm_since_ms) / 1e3, _MOST_BYTES)
        allowed = int(min(risked_bytes - in_flight_bytes, _GAP_MS * capacity_bps / 8e3, free_bytes))
        return allowed if allowed >= _LEAST_BYTES else 0

    def _pause(self, now_ms: float, length_ms: float) -> None:
        self._pause_until_ms = max(self._pause_until_ms, now_ms + length_ms)

    def _overdue(self, capacity_bps: float, shortest_ms: float, now_ms: float) -> bool:
        hold_ms, ahead = max(self._holds_ms, default=0.0), 0
        for sent_ms, size in self._congestion_window.values():
            ahead += size
            expected_ms = sent_ms + shortest_ms + hold_ms + ahead * 8e3 / capacity_bps
            if now_ms > expected_ms + _OVERDUE_MS:
                return True
        return False
