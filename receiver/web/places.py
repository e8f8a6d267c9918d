"""Places and rates that visitors share, and the one error for requests that the page refuses."""

import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from common.connections import share_of_host
from common.errors import UsageError


class Refused(UsageError):
    """A request that is refused; `receiver.web.guards` answers it, a command prints it.

    Args:
        status: of HTTP: 4xx, or 503 if it may succeed later.
        detail: one sentence that says what to do.
        wait_s: seconds after which it may be tried again, or None.
    """

    def __init__(self, status: int, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait_s = status, detail, wait_s


Visitor = tuple[bool, str]
"""Who comes: whether with an account, and its name."""
NOBODY: Visitor = (False, "")
"""Whoever needs no account: this machine's user."""


class Places:
    """Places for work, `each` for one account or visitor; when half are taken, only those without one get another.

    Args:
        what: takes a place, for the message.
    """

    def __init__(self, most: int, each: int, what: str = "uploads") -> None:
        self.most, self._each, self._what = most, each, what
        self._taken = Counter[Hashable]()
        self._of_hosts = Counter[str | None]()

    @contextmanager
    def take(self, who: Hashable, host: str | None = None) -> Iterator[None]:
        """Takes a place for a block; `NOBODY` may take all. Raises Refused (429) if none is left.

        Args:
            host: whence it comes; one has half of the places, however many accounts.
        """
        total, own = self._taken.total(), 0 if who == NOBODY else self._taken[who]
        crowded = host is not None and self._of_hosts[host] >= share_of_host(self.most)
        if total >= self.most or crowded or own >= (self._each if 2 * total < self.most else 1):
            raise Refused(429, f"too many {self._what} at a time: wait until one has finished", 2.0)
        self._taken[who] += 1
        self._of_hosts[host] += 1
        try:
            yield
        finally:
            self._taken -= Counter([who])
            self._of_hosts -= Counter([host])


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
        # Imported here: the decoder of uploads, which limits nobody, need not wait for it.
        from limits import parse_many
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter

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
