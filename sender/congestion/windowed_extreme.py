"""Sliding-window minimum and maximum, such as the shortest round trip of the last seconds."""

from collections import deque


class WindowedExtreme:
    """The smallest or largest value of the last `window_ms` milliseconds."""

    def __init__(self, window_ms: float, *, largest: bool = False) -> None:
        self._window_ms = window_ms
        self._sign = -1.0 if largest else 1.0
        # Monotonic queue, rising in sign · value: a value that is older and no better can never be the extreme again.
        self._candidates: deque[tuple[float, float]] = deque()

    def update(self, value: float, now_ms: float) -> float:
        signed = self._sign * value
        while self._candidates and self._candidates[-1][1] >= signed:
            self._candidates.pop()
        self._candidates.append((now_ms, signed))
        self._drop_old(now_ms)
        return self._sign * self._candidates[0][1]

    def at(self, now_ms: float) -> float | None:
        """The extreme as of now; None if there is no value in the window."""
        self._drop_old(now_ms)
        return self._sign * self._candidates[0][1] if self._candidates else None

    def clear(self) -> None:
        self._candidates.clear()

    def _drop_old(self, now_ms: float) -> None:
        while self._candidates and self._candidates[0][0] < now_ms - self._window_ms:
            self._candidates.popleft()
