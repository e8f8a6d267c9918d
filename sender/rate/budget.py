"""How many bytes a frame may have: what the link carries beside the labels, and none while it is late.  Pure.

What was sent cannot be called back: until acknowledgements fail to come, a round trip later, it goes on into the queue
of a link that has collapsed.  So bulk leaves headroom, the more the longer the way is, goes only as long as nothing is
overdue, and comes back by steps.  A link that stood still will do so again: each time halves what is risked, and it
takes eight seconds to heal.
"""

from collections import deque

from sender.rate.delay import WindowedExtreme
from sender.rate.sample import LinkSample, wire_bytes

_ROUND_TRIP_WINDOW_MS = 10_000.0
_HOLDS = 8
# An acknowledgement so much later than it should be means that the link is not what it was.
_OVERDUE_MS = 15.0
# After that bulk begins again at this share of what would fit, and grows by so much a frame.
_AFTER_OVERDUE, _GROWTH = 0.1, 1.15
# An acknowledgement so late means that the link stood still; how much less is risked from then on, and how that heals.
_STANDSTILL_MS, _WARY, _LEAST_WARY, _HEALING = 200.0, 0.5, 0.01, 1.003
# If the capacity falls to an eighth, what was sent before that shows has passed after so long.
_COLLAPSE, _PASSED_MS = 8.0, 420.0


class ByteBudget:
    """Times in milliseconds of one monotonic clock.

    Args:
        headroom: most of the capacity that frames may use, bulk and all.
    """

    def __init__(self, headroom: float = 0.6) -> None:
        self._headroom = headroom
        self._share = self._highest_share = 1.0
        self._stands_still = False
        self._flight: dict[int, tuple[float, int]] = {}
        self._round_trip_ms = WindowedExtreme(_ROUND_TRIP_WINDOW_MS)
        self._holds_ms: deque[float] = deque(maxlen=_HOLDS)

    def restart(self) -> None:
        """A stream began: nothing is in flight."""
        self._flight.clear()

    def sent(self, sequence: int, payload_bytes: int, now_ms: float) -> None:
        """A frame went out."""
        self._flight[sequence] = (now_ms, wire_bytes(payload_bytes))

    def acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        """A frame was acknowledged; those before it will not be any more, if they were not."""
        for sequence in [each for each in self._flight if each <= sample.sequence]:
            del self._flight[sequence]
        self._round_trip_ms.update(sample.round_trip_time_ms, now_ms)
        self._holds_ms.append(sample.hold_ms)
        self._stands_still = False
        self._highest_share = min(self._highest_share * _HEALING, 1.0)
        self._share = min(self._share * _GROWTH, self._highest_share)

    def frame_bytes(self, capacity_bps: float | None, frame_rate_hz: float, now_ms: float) -> int:
        """How many bytes the next frame may have.

        Args:
            capacity_bps: what the link can be relied on to carry; None while that is not known.
            frame_rate_hz: how many frames share it; 0 while that is not known.
        """
        shortest_ms = self._round_trip_ms.at(now_ms)
        if capacity_bps is None or frame_rate_hz <= 0 or shortest_ms is None:
            return 0
        if self._overdue(capacity_bps, shortest_ms, now_ms):
            self._share = min(self._share, _AFTER_OVERDUE)
            self._be_wary(shortest_ms, now_ms)
            return 0
        bytes_per_ms = capacity_bps / 8e3
        queued = max(sum(size for _, size in self._flight.values()) - bytes_per_ms * shortest_ms, 0.0)
        fitting = self._usable(shortest_ms, 1e3 / frame_rate_hz) * bytes_per_ms * 1e3 / frame_rate_hz
        return max(int(self._share * fitting - queued), 0)

    def _be_wary(self, shortest_ms: float, now_ms: float) -> None:
        """Halves the risk, once for each time that the link stands still."""
        oldest_ms = min(sent_ms for sent_ms, _ in self._flight.values())
        if not self._stands_still and now_ms - oldest_ms > shortest_ms + self._hold_ms + _STANDSTILL_MS:
            self._stands_still = True
            self._highest_share = max(self._highest_share * _WARY, _LEAST_WARY)
            self._share = min(self._share, self._highest_share)

    @property
    def _hold_ms(self) -> float:
        return max(self._holds_ms, default=0.0)

    def _usable(self, shortest_ms: float, interval_ms: float) -> float:
        """Share of the capacity: what goes unwittingly into a collapse has to pass at an eighth of the rate."""
        unwitting_ms = shortest_ms + interval_ms + _OVERDUE_MS
        passing_ms = max(_PASSED_MS - shortest_ms / 2, 0.1 * _PASSED_MS)
        return min(self._headroom, passing_ms / (_COLLAPSE * unwitting_ms))

    def _overdue(self, capacity_bps: float, shortest_ms: float, now_ms: float) -> bool:
        ahead = 0
        for sent_ms, size in self._flight.values():
            ahead += size
            expected_ms = sent_ms + shortest_ms + self._hold_ms + ahead * 8e3 / capacity_bps
            if now_ms > expected_ms + _OVERDUE_MS:
                return True
        return False
