"""Which sessions of a directory are live now."""

import threading
from collections import Counter

from common.clock import Clock

# A frame or picture that was in work when its session ended is written by then.
_SETTLED_S = 5.0


class SessionUsage:
    """Counts who writes sessions, by number; safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._writers = Counter[int]()
        self._ended_s: dict[int, float] = {}

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

    def live(self) -> set[int]:
        """The sessions that a sender writes, or has ended just now."""
        with self._lock:
            now_s = self._clock.monotonic()
            self._ended_s = {number: s for number, s in self._ended_s.items() if now_s - s < _SETTLED_S}
            return {*self._writers, *self._ended_s}
