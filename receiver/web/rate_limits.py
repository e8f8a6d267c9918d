"""Limits on how often something may be tried, by key: an account, an address, or both."""

import time

from limits import parse_many
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

# With more keys at a time all are forgotten: attackers with as many addresses must not fill the memory.
_KEYS = 20_000


class TriedTooOften(Exception):
    """Too many tries (`wait_s`: seconds until the next one is accepted)."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts: try again in {max(round(wait_s), 1)} s")
        self.wait_s = wait_s


class RateLimits:
    """Counts tries by key, in memory.

    Args:
        limits: as the package `limits` writes them, such as "30 per minute; 200 per hour"; a window begins with the
            first try.
    """

    def __init__(self, limits: str) -> None:
        self._limits = parse_many(limits)
        self._storage = MemoryStorage()
        self._windows = FixedWindowRateLimiter(self._storage)

    def take(self, key: str) -> None:
        """Counts a try. Raises TriedTooOften if there were too many before."""
        if len(self._storage.storage) > _KEYS:
            self._storage.reset()
        for limit in self._limits:
            if not self._windows.hit(limit, key):
                raise TriedTooOften(self._windows.get_window_stats(limit, key).reset_time - time.time())

    def forget(self, key: str) -> None:
        """Forgets the tries of a key."""
        for limit in self._limits:
            self._windows.clear(limit, key)
