"""Limits on what one sender may consume."""

import asyncio

from common.clock import Clock


class RateLimiter:
    """Token bucket of one stream, with a burst of one second.

    Args:
        bytes_per_second: the rate.
    """

    def __init__(self, bytes_per_second: float, clock: Clock) -> None:
        self._rate, self._clock = bytes_per_second, clock
        self._credit, self._updated_s = bytes_per_second, clock.monotonic()

    async def acquire(self, size: int) -> None:
        """Waits until a message of this many bytes may be taken."""
        now_s = self._clock.monotonic()
        self._credit = min(self._rate, self._credit + (now_s - self._updated_s) * self._rate) - size
        self._updated_s = now_s
        if self._credit < 0:
            await asyncio.sleep(-self._credit / self._rate)
