"""The gRPC server end of a `MessageStream`, with limits on what one sender may send in a second."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote
from weakref import WeakValueDictionary

import grpc

from common.clock import Clock
from common.io.tcp_info import TcpConnection, TcpConnections
from common.wire.stream import StreamBroken

# What the receiver sends in this time fits the buffers between the ends, unless the sender does not read at all.
_WRITE_TIMEOUT_S = 10.0

# The streams of 64 sessions at 30 frames a second, with their keepalives, stay below this.
_STREAMS_AT_FULL_RATE_PER_HOST = 3
_CONNECTIONS = TcpConnections()


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
    """Slows down the reading of one stream (`data`: bytes of the stream)."""

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


class _WriteDeadline:
    """Cancels a write that is too long, by one timer: `asyncio.timeout` for each costs as much as parsing a frame."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._writer: asyncio.Task[Any] | None = None
        self._began_s = 0.0
        self._watching = False
        self._expired = False

    def begin(self) -> None:
        """Called by the task that begins a write."""
        loop = asyncio.get_running_loop()
        self._writer, self._began_s = asyncio.current_task(), loop.time()
        if not self._watching:
            self._watching = True
            loop.call_later(self._timeout_s, self._check)

    def end(self) -> None:
        """Called when the write has ended in any way."""
        self._writer = None

    def take_cancellation(self) -> bool:
        """Whether this deadline alone has cancelled the present task, which then goes on."""
        task = asyncio.current_task()
        return self._expired and task is not None and task.uncancel() == 0

    def _check(self) -> None:
        self._watching = self._writer is not None
        if self._writer is None:
            return
        loop = asyncio.get_running_loop()
        left_s = self._began_s + self._timeout_s - loop.time()
        if left_s > 0:
            loop.call_later(left_s, self._check)
        else:
            self._expired = True
            self._writer.cancel()


class GrpcServerStream:
    """One call of `SemanticLink.Stream`; a sender that does not read loses it."""

    lossy = False

    def __init__(self, context: Any, rate_limiter: RateLimiter) -> None:
        self._context = context
        self._rate_limiter = rate_limiter
        self._writing = asyncio.Lock()
        self._deadline = _WriteDeadline(_WRITE_TIMEOUT_S)

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        try:
            data = await self._context.read()
        except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            raise StreamBroken("CANCELLED", "the stream has ended") from error
        if data is grpc.aio.EOF:
            return None
        await self._rate_limiter.acquire(len(data))
        return bytes(data)

    def connections(self) -> Sequence[TcpConnection]:
        """See `MessageStream.connections`."""
        host, _, port = unquote(self._context.peer().partition(":")[2]).rpartition(":")
        return _CONNECTIONS.from_host(host.strip("[]"), int(port)) if port.isdigit() else ()

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        """See `MessageStream.write`."""
        async with self._writing:
            self._deadline.begin()
            try:
                await self._context.write(data)
            except asyncio.CancelledError:
                if self._deadline.take_cancellation():
                    raise StreamBroken("DEADLINE_EXCEEDED", "the sender does not read") from None
                raise
            except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
                raise StreamBroken("CANCELLED", "the stream has ended") from error
            finally:
                self._deadline.end()
