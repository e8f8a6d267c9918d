"""Places that visitors share."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

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
        self._most, self._each, self._what = most, each, what
        self._taken = Counter[Hashable]()

    @contextmanager
    def take(self, who: Hashable) -> Iterator[None]:
        """Takes a place for a block; `NOBODY` may take all. Raises Refused (429) if none is left."""
        total, own = self._taken.total(), 0 if who == NOBODY else self._taken[who]
        if total >= self._most or own >= (self._each if 2 * total < self._most else 1):
            raise Refused(429, f"too many {self._what} at a time: wait until one has finished", 2.0)
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken -= Counter([who])
