"""Places that visitors share: to watch, and for the cameras of their browsers."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

Visitor = tuple[bool, str]
"""Who comes: whether with an account, and its name or otherwise the address."""


class Place(Protocol):
    """A place that somebody has (`displaced`: set when it is wanted by another)."""

    @property
    def visitor(self) -> Visitor: ...

    @property
    def displaced(self) -> asyncio.Event: ...


def make_room(places: Iterable[Place], visitor: Visitor, most: int) -> bool:
    """Whether there is a place for one more, perhaps taken from another visitor.

    Whoever has an account takes it from whoever has none, and otherwise from whoever has two places more.

    Args:
        places: the oldest first.
    """
    taken = [place for place in places if not place.displaced.is_set()]
    if len(taken) < most:
        return True
    count = Counter(place.visitor for place in taken)
    youngest = max(reversed(taken), key=lambda place: (not place.visitor[0], count[place.visitor]))
    mine, theirs = (visitor[0], -count[visitor]), (youngest.visitor[0], 2 - count[youngest.visitor])
    if mine < theirs:
        return False
    youngest.displaced.set()
    return True
