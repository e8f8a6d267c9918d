"""What stages remember of tracked people."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from sender.perception.tracking.frame_clock import FrameClock

T = TypeVar("T")

FORGET_AFTER_S: Final = 10.0
"""Longer than the tracker keeps the identity of somebody who is lost; then it may be another person's."""


class KnownPeople(dict[int, T]):
    """Identity → what a stage remembers of a person.

    Args:
        new: makes that of somebody who was not seen before.

    Attributes:
        clock: of the frames that were seen.
    """

    def __init__(self, new: Callable[[], T]) -> None:
        super().__init__()
        self._new = new
        self._seen_s: dict[int, float] = {}
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
            self._seen_s[identity] = now_s
        gone = [identity for identity, seen_s in self._seen_s.items() if now_s - seen_s > FORGET_AFTER_S]
        for identity in gone:
            del self._seen_s[identity]
        return [(identity, self.pop(identity)) for identity in gone]

    def clear(self) -> None:
        super().clear()
        self._seen_s.clear()
        self.clock = FrameClock()
