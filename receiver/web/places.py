"""Places that visitors share."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from common.connections import share_of_host
from receiver.web.refused import Refused

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
