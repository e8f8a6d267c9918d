"""Limits bytes over a sliding window, for padding and for everything that leaves under `--budget-kbit`."""

from collections import deque


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
