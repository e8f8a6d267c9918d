"""Limits on what one sender may send in a second."""

import asyncio
from weakref import WeakValueDictionary

from common.clock import Clock

# The streams of 64 sessions at 30 frames a second, with their keepalives, stay below this.
_STREAMS_AT_FULL_RATE_PER_HOST = 3


class TokenBucket:
    """A rate with a burst of one second."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._rate, self._clock = per_second, clock
        self._credit, self._updated_s = per_second, clock.monotonic()

    def take(self, amount: float) -> float:
        """Takes an amount; returns how long its taker has to wait, in seconds."""
        now_s = self._clock.monotonic()
        self._credit = min(self._rate, self._credit + (now_s - self._updated_s) * self._rate) - amount
        self._updated_s = now_s
        return max(-self._credit / self._rate, 0.0)


class RateLimiter:
    """Slows down the reading of one stream.

    Args:
        data: bytes of the stream.
    """

    def __init__(self, data: TokenBucket, *messages: TokenBucket) -> None:
        self._data, self._messages = data, messages

    async def acquire(self, size: int) -> None:
        """Waits until a message of this many bytes may be taken."""
        wait_s = max(self._data.take(size), *(bucket.take(1) for bucket in self._messages))
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class RateLimits:
    """Makes the limiter of each stream.

    Messages are limited too, because a small one costs the event loop as much as a large one, and at each address,
    because one sender may open many streams.
    """

    def __init__(self, bytes_per_second: float, messages_per_second: float, clock: Clock) -> None:
        self._bytes, self._messages = bytes_per_second, messages_per_second
        self._clock = clock
        self._hosts: WeakValueDictionary[str, TokenBucket] = WeakValueDictionary()

    def of_stream(self, host: str) -> RateLimiter:
        """The limiter of a new stream from an address, which it shares with the others from there."""
        shared = self._hosts.get(host) or TokenBucket(_STREAMS_AT_FULL_RATE_PER_HOST * self._messages, self._clock)
        self._hosts[host] = shared
        return RateLimiter(TokenBucket(self._bytes, self._clock), TokenBucket(self._messages, self._clock), shared)
