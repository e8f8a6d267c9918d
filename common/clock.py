"""Clocks as a dependency: daemons read those of the system, tests pass their own; and times of clocks that were set."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S: Final = 3600.0
"""Times that are farther apart do not follow each other: a clock was set in between."""
# Times that step back by so many intervals begin again; by fewer, they are out of order.
_BEGIN_AGAIN_INTERVALS = 3
# Clocks are slewed by less, and read one after the other.
_SET_S = 1.0


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


class SteadyWall:
    """The wall clock as it is now, carried on by the monotonic one; a warning is logged when the former is set."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._epoch_s = clock.wall() - clock.monotonic()
        self._warned = False

    def __call__(self) -> float:
        """Seconds since the epoch, which never jump."""
        before_s, wall_s = self._clock.monotonic(), self._clock.wall() - self._epoch_s
        after_s = self._clock.monotonic()
        if not before_s - _SET_S <= wall_s <= after_s + _SET_S and not self._warned:
            self._warned = True
            text = "this machine's clock was set by %+.0f s, or it slept: times of capture go on as before"
            logger.warning(text, wall_s - after_s)
        return self._epoch_s + after_s


STEADY_CLOCK = Clock(wall=SteadyWall())
"""For times of capture, and what is compared with them: its wall clock is that of the process's start, carried on."""


class BridgedTimes:
    """Times that go on where they begin again, where a clock was set, and where there are none.

    What is bridged takes as long as the last step before it.

    Args:
        interval_s: from one time to the next until two are known, and where there is none.

    Attributes:
        shift_s: what is added to the newest time.
        last_s: the newest time that was returned.
        longest_step_s: between two of these.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = self._step_s = self.longest_step_s = interval_s
        self.shift_s = 0.0
        self.last_s: float | None = None

    def following(self, time_s: float | None) -> float:
        """The next time, which never decreases; None where it is not known."""
        if self.last_s is None:
            self.last_s = 0.0 if time_s is None else time_s
            return self.last_s
        before_s = self.last_s
        if time_s is None:
            self.last_s += self._interval_s
            return self.last_s
        step_s = time_s + self.shift_s - before_s
        if -_BEGIN_AGAIN_INTERVALS * self._interval_s <= step_s <= LONGEST_PAUSE_S:
            self.last_s = max(time_s + self.shift_s, before_s)
            self._step_s = step_s if step_s > 0 else self._step_s
        else:
            self.last_s += self._step_s
            self.shift_s = self.last_s - time_s
        self.longest_step_s = max(self.longest_step_s, self.last_s - before_s)
        return self.last_s
