"""Detects a growing queue from the gradient of the one-way delays, against an adaptive threshold.

After Google Congestion Control (Carlucci et al. 2016, "Analysis and Design of the Google Congestion Control for
WebRTC"; draft-ietf-rmcat-gcc-02): the slope of a least-squares line through the last delays shows whether the queue
grows; a threshold that follows the slopes, slowly down and more slowly up, separates growth from jitter.  This version
uses fewer points than GCC, since frames are fewer than packets.
"""

from collections import deque

_POINTS = 6
_INITIAL_THRESHOLD_MS, _MIN_THRESHOLD_MS, _MAX_THRESHOLD_MS = 12.5, 6.0, 600.0
_GAIN_UP_PER_MS, _GAIN_DOWN_PER_MS = 0.0087, 0.039
# The threshold does not adapt to growth this far beyond it (GCC: 15 ms).
_OUTLIER_MS = 15.0
_MAX_STEP_MS = 100.0
_OVERUSES_IN_A_ROW = 2


class DelayGradient:
    """Over-use detector, fed with the one-way delays of frames without their own transmission times."""

    def __init__(self) -> None:
        self._threshold_ms = _INITIAL_THRESHOLD_MS
        self.restart()

    def restart(self) -> None:
        """Resets the state for a new stream; the threshold stays."""
        self._points: deque[tuple[float, float]] = deque(maxlen=_POINTS)
        self._overuses = 0
        self._last_growth_ms = 0.0

    def update(self, one_way_ms: float, now_ms: float) -> bool:
        """Adds the delay of a frame and returns whether the queue grows.

        Args:
            one_way_ms: may contain a constant clock offset.
        """
        elapsed_ms = now_ms - self._points[-1][0] if self._points else 0.0
        self._points.append((now_ms, one_way_ms))
        growth_ms = self._growth_ms()
        above = len(self._points) >= _POINTS // 2 and growth_ms > self._threshold_ms
        self._overuses = self._overuses + 1 if above and growth_ms >= self._last_growth_ms else 0
        self._last_growth_ms = growth_ms
        self._adapt(abs(growth_ms), min(elapsed_ms, _MAX_STEP_MS))
        return self._overuses >= _OVERUSES_IN_A_ROW

    def _growth_ms(self) -> float:
        """Rise of the least-squares line from the first to the last point."""
        count = len(self._points)
        mean_at = sum(at_ms for at_ms, _ in self._points) / count
        mean_delay = sum(delay_ms for _, delay_ms in self._points) / count
        spread = sum((at_ms - mean_at) ** 2 for at_ms, _ in self._points)
        if spread <= 0:
            return 0.0
        slope = sum((at_ms - mean_at) * (delay_ms - mean_delay) for at_ms, delay_ms in self._points) / spread
        return slope * (self._points[-1][0] - self._points[0][0])

    def _adapt(self, growth_ms: float, elapsed_ms: float) -> None:
        if growth_ms > self._threshold_ms + _OUTLIER_MS:
            return
        gain = _GAIN_UP_PER_MS if growth_ms > self._threshold_ms else _GAIN_DOWN_PER_MS
        moved = self._threshold_ms + gain * (growth_ms - self._threshold_ms) * elapsed_ms
        self._threshold_ms = min(max(moved, _MIN_THRESHOLD_MS), _MAX_THRESHOLD_MS)
