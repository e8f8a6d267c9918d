"""What stages remember of tracked people."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

FORGET_AFTER_FRAMES: Final = 300
"""Longer than the tracker keeps the identity of somebody who is lost; then it may be another person's."""


class KnownPeople(dict[int, T]):
    """Identity → what a stage remembers of a person.

    Args:
        new: makes that of somebody who was not seen before.
    """

    def __init__(self, new: Callable[[], T]) -> None:
        super().__init__()
        self._new = new
        self._unseen_frames: dict[int, int] = {}

    def see(self, identities: Iterable[int]) -> list[tuple[int, T]]:
        """Takes note of the people of the next frame; returns those who are forgotten now, and what was remembered."""
        self._unseen_frames = {identity: frames + 1 for identity, frames in self._unseen_frames.items()}
        for identity in identities:
            if identity not in self:
                self[identity] = self._new()
            self._unseen_frames[identity] = 0
        gone = [identity for identity, frames in self._unseen_frames.items() if frames > FORGET_AFTER_FRAMES]
        for identity in gone:
            del self._unseen_frames[identity]
        return [(identity, self.pop(identity)) for identity in gone]

    def clear(self) -> None:
        super().clear()
        self._unseen_frames.clear()
