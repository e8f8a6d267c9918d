"""The paper's delay D(t), and the shortest round trip of late."""

from collections import deque

from sender.congestion.samples import LinkSample


class PaperDelay:
    """D(t) = Σ w_i rtt_i / Σ w_i (AFLSC, eq. 16), with weights that halve with age.

    The paper leaves the weights open; recent round trips say more about the link as it is now.

    Args:
        half_life_ms: age at which a round trip weighs half.
        window_ms: age at which it is forgotten.
    """

    def __init__(self, half_life_ms: float = 500.0, window_ms: float = 5000.0) -> None:
        if half_life_ms <= 0 or window_ms <= 0:
            raise ValueError("half_life_ms and window_ms must be above 0")
        self._half_life_ms = half_life_ms
        self._window_ms = window_ms
        self._round_trips: deque[tuple[float, float]] = deque()
        self._delay_ms: float | None = None

    @property
    def delay_ms(self) -> float | None:
        """D(t) in milliseconds; None before the first sample."""
        return self._delay_ms

    def update(self, sample: LinkSample, now_ms: float) -> float:
        """Takes in one acknowledged frame and returns D(t) in milliseconds."""
        self._round_trips.append((now_ms, sample.round_trip_time_ms))
        while self._round_trips[0][0] < now_ms - self._window_ms:
            self._round_trips.popleft()
        weights = [0.5 ** ((now_ms - at_ms) / self._half_life_ms) for at_ms, _ in self._round_trips]
        weighted = sum(weight * rtt_ms for weight, (_, rtt_ms) in zip(weights, self._round_trips, strict=True))
        self._delay_ms = weighted / sum(weights)
        return self._delay_ms


class WindowedExtreme:
    """The smallest or largest value of the last `window_ms` milliseconds.

    Args:
        largest: keep the largest value instead of the smallest.
    """

    def __init__(self, window_ms: float, *, largest: bool = False) -> None:
        if window_ms <= 0:
            raise ValueError(f"window_ms {window_ms} is not above 0")
        self._window_ms = window_ms
        self._sign = -1.0 if largest else 1.0
        # Rising in sign * value: what is older and no better can never be the extreme again.
        self._candidates: deque[tuple[float, float]] = deque()

    def update(self, value: float, now_ms: float) -> float:
        """Takes in a value and returns the extreme."""
        signed = self._sign * value
        while self._candidates and self._candidates[-1][1] >= signed:
            self._candidates.pop()
        self._candidates.append((now_ms, signed))
        self._forget(now_ms)
        return self._sign * self._candidates[0][1]

    def at(self, now_ms: float) -> float | None:
        """The extreme as of now; None if nothing is recent enough."""
        self._forget(now_ms)
        return self._sign * self._candidates[0][1] if self._candidates else None

    def clear(self) -> None:
        """Forgets everything."""
        self._candidates.clear()

    def _forget(self, now_ms: float) -> None:
        while self._candidates and self._candidates[0][0] < now_ms - self._window_ms:
            self._candidates.popleft()
