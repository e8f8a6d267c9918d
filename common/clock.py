"""Time as a value that can be handed in: daemons read the real clocks, tests read their own."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of a machine.

    Args:
        monotonic: seconds since some moment; never jumps, so every interval is measured with it.
        wall: seconds since the epoch; may be stepped, so only what two machines compare is stamped with it.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def monotonic_ms(self) -> float:
        return self.monotonic() * 1e3

    def wall_ms(self) -> float:
        return self.wall() * 1e3


SYSTEM_CLOCK = Clock()
