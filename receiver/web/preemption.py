"""Slots that visitors share, to watch and for the cameras of their browsers, and who loses one when they are taken."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

Visitor = tuple[bool, str]
"""Who comes: whether with an account, and its name or otherwise the address."""


class Slot(Protocol):
    """A slot that somebody has (`displaced`: set when it is wanted by another)."""

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
