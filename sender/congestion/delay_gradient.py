"""Is a queue growing?  The slope of the one-way delays against a threshold that adapts.  Pure.

The idea is that of Google Congestion Control (Carlucci et al. 2016, "Analysis and Design of the Google Congestion
Control for WebRTC"; draft-ietf-rmcat-gcc-02): a line through the last delays, by least squares, tells whether the queue
grows; a threshold that follows the slopes seen, slowly down and more slowly up, tells growth from jitter.  Ours looks
at fewer points than GCC's, since frames are fewer than packets.
"""

from collections import deque

_POINTS = 6
_FIRST_MS, _LOWEST_MS, _HIGHEST_MS = 12.5, 6.0, 600.0
_UP_PER_MS, _DOWN_PER_MS = 0.0087, 0.039
# What is so far beyond the threshold is an event, and must not teach it (GCC: 15 ms).
_EVENT_MS = 15.0
_LONGEST_STEP_MS = 100.0
_IN_A_ROW = 2


class DelayGradient:
    """Over-use of the link, from the one-way delays of frames, without what their own length adds to them."""

    def __init__(self) -> None:
        self._threshold_ms = _FIRST_MS
        self.restart()

    def restart(self) -> None:
        """A new stream began."""
        self._points: deque[tuple[float, float]] = deque(maxlen=_POINTS)
        self._over = 0
        self._last_growth_ms = 0.0

    def update(self, one_way_ms: float, now_ms: float) -> bool:
        """Takes in a frame's delay and returns whether the queue grows.

        Args:
            one_way_ms: the clocks' offset does not matter, as long as it stays.
        """
        elapsed_ms = now_ms - self._points[-1][0] if self._points else 0.0
        self._points.append((now_ms, one_way_ms))
        growth_ms = self._growth_ms()
        above = len(self._points) >= _POINTS // 2 and growth_ms > self._threshold_ms
        self._over = self._over + 1 if above and growth_ms >= self._last_growth_ms else 0
        self._last_growth_ms = growth_ms
        self._adapt(abs(growth_ms), min(elapsed_ms, _LONGEST_STEP_MS))
        return self._over >= _IN_A_ROW

    def _growth_ms(self) -> float:
        """How much the line through the points rises from the first to the last."""
        count = len(self._points)
        mean_at = sum(at_ms for at_ms, _ in self._points) / count
        mean_delay = sum(delay_ms for _, delay_ms in self._points) / count
        spread = sum((at_ms - mean_at) ** 2 for at_ms, _ in self._points)
        if spread <= 0:
            return 0.0
        slope = sum((at_ms - mean_at) * (delay_ms - mean_delay) for at_ms, delay_ms in self._points) / spread
        return slope * (self._points[-1][0] - self._points[0][0])

    def _adapt(self, growth_ms: float, elapsed_ms: float) -> None:
        if growth_ms > self._threshold_ms + _EVENT_MS:
            return
        gain = _UP_PER_MS if growth_ms > self._threshold_ms else _DOWN_PER_MS
        moved = self._threshold_ms + gain * (growth_ms - self._threshold_ms) * elapsed_ms
        self._threshold_ms = min(max(moved, _LOWEST_MS), _HIGHEST_MS)
