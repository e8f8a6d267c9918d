"""Which sessions of a directory are live or read now."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from common.clock import Clock

# A frame or picture that was in work when its session ended is written by then.
_SETTLED_S = 5.0
# A page that plays a session asks for the next frames well within this time; somebody may pause it.
_READ_S = 600.0


class SessionUsage:
    """Counts who writes and reads sessions, by number; safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._writers, self._readers = Counter[int](), Counter[int]()
        self._ended_s: dict[int, float] = {}
        self._touched_s: dict[int, float] = {}

    def began(self, number: int) -> None:
        """A sender writes a session."""
        with self._lock:
            self._writers[number] += 1

    def ended(self, number: int) -> None:
        """A sender has ended."""
        with self._lock:
            self._writers -= Counter([number])
            self._ended_s[number] = self._clock.monotonic()

    def settled(self, number: int) -> None:
        """All that was in work when the sender has ended is written."""
        with self._lock:
            self._ended_s.pop(number, None)

    @contextmanager
    def reading(self, number: int) -> Iterator[None]:
        """Keeps a session while the block runs."""
        with self._lock:
            self._readers[number] += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= Counter([number])

    def touched(self, number: int) -> None:
        """Somebody has asked for a part of a session, and may ask for the next."""
        with self._lock:
            self._touched_s[number] = self._clock.monotonic()

    def is_live(self, number: int) -> bool:
        """Whether a sender writes it, or has ended it just now."""
        with self._lock:
            self._forget()
            return number in self._writers or number in self._ended_s

    def used(self) -> set[int]:
        """All that should not be deleted without being asked for."""
        with self._lock:
            self._forget()
            return {*self._writers, *self._readers, *self._ended_s, *self._touched_s}

    def _forget(self) -> None:
        now_s = self._clock.monotonic()
        for times_s, lasts_s in ((self._ended_s, _SETTLED_S), (self._touched_s, _READ_S)):
            for number in [number for number, at_s in times_s.items() if now_s - at_s >= lasts_s]:
                del times_s[number]
