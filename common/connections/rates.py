"""How often somebody may do something."""

from common.clock import Clock

_MOST_NAMES = 1024


class BeginRate:
    """Limits how often each account, or host, begins something.

    Args:
        per_second: after the burst.
        burst: how many may begin at once.
    """

    def __init__(self, per_second: float, burst: int, clock: Clock) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        # When somebody will have the whole burst again; those who have it are left out.
        self._restored_s: dict[str, float] = {}

    def take(self, who: str) -> bool:
        """Counts a beginning; returns whether there is room for it."""
        now_s = self._clock.monotonic()
        if len(self._restored_s) >= _MOST_NAMES:
            self._restored_s = {name: at_s for name, at_s in self._restored_s.items() if at_s > now_s}
        restored_s = max(self._restored_s.get(who, now_s), now_s) + 1 / self._per_second
        if restored_s - now_s > self._burst / self._per_second:
            return False
        self._restored_s[who] = restored_s
        return True


class TokenBucket:
    """A rate with a burst of one second."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._rate, self._clock = per_second, clock
        self._credit, self._updated_s = per_second, clock.monotonic()

    def take(self, amount: float) -> float:
        """Takes an amount; returns how long its taker has to wait, in seconds."""
        now_s = self._clock.monotonic()
        self._credit = min(self._rate, self._credit + (now_s - self._updated_s) * self._rate) - amount
        self._updated_s = now_s
        return max(-self._credit / self._rate, 0.0)
