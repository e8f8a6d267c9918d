"""How long to wait before the next attempt to connect."""

import random


class Backoff:
    """Doubling delays with a cap, each shortened at random by up to half so that many senders do not return at once.

    Args:
        first_s: the longest first delay.
        cap_s: the longest delay at all.
    """

    def __init__(self, first_s: float, cap_s: float, rng: random.Random) -> None:
        if not 0 < first_s <= cap_s:
            raise ValueError(f"a backoff needs 0 < first ({first_s} s) <= cap ({cap_s} s)")
        self._first_s = first_s
        self._cap_s = cap_s
        self._rng = rng
        self._next_s = first_s

    def reset(self) -> None:
        """Begins again with the shortest delay: an attempt succeeded."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """The delay before the next attempt, in seconds."""
        delay_s = self._next_s * self._rng.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._cap_s)
        return delay_s
