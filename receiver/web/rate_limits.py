"""Limits on how often something may be tried, by key: an account, a client's address, or both."""

import time

from limits import parse_many
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from receiver.web.refused import Refused

# With more keys at a time all are forgotten: attackers with as many addresses must not fill the memory.
_KEYS = 20_000


class RateLimits:
    """Counts tries by key, in memory.

    Args:
        limits: as the package `limits` writes them, such as "30 per minute; 200 per hour"; a window begins with the
            first try.
        what: is tried, for the message.
    """

    def __init__(self, limits: str, what: str = "attempts") -> None:
        self._limits, self._what = parse_many(limits), what
        self._storage = MemoryStorage()
        self._windows = FixedWindowRateLimiter(self._storage)

    def take(self, key: str) -> None:
        """Counts a try. Raises Refused (429) if there were too many before."""
        if len(self._storage.storage) > _KEYS:
            self._storage.reset()
        for limit in self._limits:
            if not self._windows.hit(limit, key):
                wait_s = max(round(self._windows.get_window_stats(limit, key).reset_time - time.time()), 1)
                raise Refused(429, f"too many {self._what}: try again in {wait_s} s", wait_s)

    def forget(self, key: str) -> None:
        """Forgets the tries of a key."""
        for limit in self._limits:
            self._windows.clear(limit, key)
