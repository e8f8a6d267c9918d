"""Rates over the last seconds."""

from collections import deque


class RecentRate:
    """Amounts per second over a sliding window."""

    def __init__(self, window_s: float = 3.0) -> None:
        self._window_s = window_s
        self._amounts: deque[tuple[float, float]] = deque()
        self._began_s: float | None = None
        self._sum = 0.0

    def add(self, amount: float, now_s: float) -> None:
        """Adds an amount at a moment of a monotonic clock."""
        if self._began_s is None:
            self._began_s = now_s
        self._amounts.append((now_s, amount))
        self._sum += amount
        self._forget(now_s)

    def per_second(self, now_s: float) -> float:
        """The rate; over a shorter time as long as less than a window has passed since the first amount."""
        self._forget(now_s)
        if self._began_s is None or now_s <= self._began_s:
            return 0.0
        return self._sum / min(self._window_s, now_s - self._began_s)

    def mean(self, now_s: float) -> float | None:
        """The mean amount; None if there was none in the window."""
        self._forget(now_s)
        return self._sum / len(self._amounts) if self._amounts else None

    def _forget(self, now_s: float) -> None:
        while self._amounts and self._amounts[0][0] < now_s - self._window_s:
            self._sum -= self._amounts.popleft()[1]
        if not self._amounts:
            self._sum = 0.0  # without the rounding errors of the past
