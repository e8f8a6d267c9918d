"""What stages remember of tracked people, and when each of them is to be read again."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from sender.perception.observed_person import ObservedPerson
from sender.perception.tracking.frame_clock import FrameClock

T = TypeVar("T")

FORGET_AFTER_S: Final = 10.0
"""Longer than the tracker keeps the identity of somebody who is lost; then it may be another person's."""


class KnownPeople(dict[int, T]):
    """Identity → what a stage remembers of a person.

    Args:
        new: makes that of somebody who was not seen before.
        first_s: from their first frame to the time when they are to be read; with none, they are to be read in it.

    Attributes:
        clock: of the frames that were seen.
    """

    def __init__(self, new: Callable[[], T], first_s: float = -math.inf) -> None:
        super().__init__()
        self._new, self._first_s = new, first_s
        self._seen_s: dict[int, float] = {}
        self._due_s: dict[int, float] = {}
        self.clock = FrameClock()

    def see(self, identities: Iterable[int], time_s: float | None) -> list[tuple[int, T]]:
        """Takes note of the people of the next frame; returns those who are forgotten now, and what was remembered.

        Args:
            time_s: of the frame, as for `FrameClock.tick`.
        """
        self.clock.tick(time_s)
        now_s = self.clock.now_s
        for identity in identities:
            if identity not in self:
                self[identity] = self._new()
                self._due_s[identity] = now_s + self._first_s
            self._seen_s[identity] = now_s
        gone = [identity for identity, seen_s in self._seen_s.items() if now_s - seen_s > FORGET_AFTER_S]
        for identity in gone:
            del self._seen_s[identity], self._due_s[identity]
        return [(identity, self.pop(identity)) for identity in gone]

    def due(self, observed: Sequence[ObservedPerson]) -> list[int]:
        """Rows of the people of this frame who are to be read, whoever waits longest first.

        What a mask lies on is not read in frames to which people are propagated.
        """
        rows = [row for row, person in enumerate(observed) if not person.is_propagated]
        waiting = [(self._due_s[observed[row].identity], row) for row in rows]
        return [row for due_s, row in sorted(waiting) if due_s <= self.clock.now_s]

    def is_new(self, person: ObservedPerson) -> bool:
        """Whether somebody has not been read yet, and is to be read in their first frame."""
        return math.isinf(self._due_s[person.identity])

    def was_read(self, person: ObservedPerson, pause_s: float) -> None:
        """Takes note that somebody is to be read again after a pause."""
        self._due_s[person.identity] = self.clock.now_s + pause_s

    def clear(self) -> None:
        super().clear()
        self._seen_s.clear()
        self._due_s.clear()
        self.clock = FrameClock()
