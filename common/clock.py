"""Clocks as a dependency: daemons read those of the system, tests pass their own."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """A monotonic and a wall clock.

    Args:
        monotonic: seconds since an arbitrary moment; never jumps, so it measures intervals.
        wall: seconds since the epoch; may be stepped, so only timestamps that two machines compare use it.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def monotonic_ms(self) -> float:
        return self.monotonic() * 1e3


SYSTEM_CLOCK = Clock()
