"""Places that visitors share: who gets one, and who loses one when all are taken."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from receiver.web.refused import Refused

Visitor = tuple[bool, str]
"""Who comes: whether with an account, and its name or otherwise the address."""


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
        """Takes a place for a block. Raises Refused (429) if there is none."""
        total, own = self._taken.total(), self._taken[who]
        if total >= self._most or own >= (self._each if 2 * total < self._most else 1):
            raise Refused(429, f"too many {self._what} at a time: wait until one has finished", 2.0)
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken -= Counter([who])


class Slot(Protocol):
    """A place to watch, or of a browser's camera (`displaced`: set when it is wanted by another)."""

    @property
    def visitor(self) -> Visitor: ...

    @property
    def displaced(self) -> asyncio.Event: ...


def make_room(slots: Iterable[Slot], visitor: Visitor, most: int) -> bool:
    """Whether there is a slot for one more, perhaps taken from another visitor.

    Whoever has an account takes it from whoever has none, and otherwise from whoever has two slots more.

    Args:
        slots: the oldest first.
    """
    taken = [slot for slot in slots if not slot.displaced.is_set()]
    if len(taken) < most:
        return True
    count = Counter(slot.visitor for slot in taken)
    youngest = max(reversed(taken), key=lambda slot: (not slot.visitor[0], count[slot.visitor]))
    mine, theirs = (visitor[0], -count[visitor]), (youngest.visitor[0], 2 - count[youngest.visitor])
    if mine < theirs:
        return False
    youngest.displaced.set()
    return True
