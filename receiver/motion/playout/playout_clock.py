"""Which moment of a sender is displayed: its present, or one for which labels have arrived."""

from collections import deque
from typing import Final

import numpy as np

from receiver.link.session import SenderClock

_WINDOW_S, _MOST_ARRIVALS = 5.0, 256
# Less sure clocks say less than the arrival of the frames.
_MOST_ERROR_S: Final = 0.1
# Frames that are older than this by a clock say that it was set, and has not been compared again.
_OLDEST_S: Final = 60.0
# Time on the screen may pass so much faster or slower; more is seen. Beyond a leap it jumps: a clock was set.
_SLEW, _LEAP_S = 0.1, 1.0
# Of the waits for the next label, the share that the delay of smooth playout covers, and its bound.
_COVERED_PERCENT, _LONGEST_DELAY_S = 95.0, 1.0


class PlayoutClock:
    """Takes when frames arrive, on this machine's clock, and gives the time on the sender's clock.

    Args:
        delayed: whether the moment is early enough to lie between two labels most of the time.
    """

    def __init__(self, *, delayed: bool) -> None:
        self._delayed = delayed
        # Arrival, age at arrival, and that of the frame before at this time; the ages include the clocks' offset.
        self._arrivals: deque[tuple[float, float, float]] = deque(maxlen=_MOST_ARRIVALS)
        self._behind_s: float | None = None
        self._asked_s = 0.0

    def arrived(self, captured_s: float, before_s: float | None, now_s: float) -> None:
        """A frame has arrived; `before_s` is when the newest one before was captured."""
        age_s = now_s - captured_s
        self._arrivals.append((now_s, age_s, age_s if before_s is None else now_s - before_s))
        while abs(now_s - self._arrivals[0][0]) > _WINDOW_S:
            self._arrivals.popleft()

    def delay_s(self, clock: SenderClock | None) -> float:
        """How much later than live a moment is displayed."""
        if not self._delayed or not self._arrivals:
            return 0.0
        waits_s = [wait_s for _, _, wait_s in self._arrivals]
        return min(float(np.percentile(waits_s, _COVERED_PERCENT)) - self._offset_s(clock), _LONGEST_DELAY_S)

    def at(self, now_s: float, clock: SenderClock | None) -> float:
        """The moment that is displayed now, on the sender's clock; it passes evenly."""
        target_s = self._offset_s(clock) + self.delay_s(clock)
        behind_s = target_s if self._behind_s is None else self._behind_s
        room_s = _SLEW * max(now_s - self._asked_s, 0.0)
        if abs(target_s - behind_s) < _LEAP_S:
            target_s = min(max(target_s, behind_s - room_s), behind_s + room_s)
        self._behind_s, self._asked_s = target_s, now_s
        return now_s - target_s

    def _offset_s(self, clock: SenderClock | None) -> float:
        """This machine's clock minus the sender's: what the link has measured, or the age of the fastest frame."""
        fastest_s = min((age_s for _, age_s, _ in self._arrivals), default=0.0)
        if clock is None or clock.error_s > _MOST_ERROR_S or fastest_s - clock.offset_s > _OLDEST_S:
            return fastest_s
        # Nothing arrives before it was captured.
        return min(clock.offset_s, fastest_s)
