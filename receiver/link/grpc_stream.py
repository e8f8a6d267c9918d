"""The gRPC server end of a `MessageStream`."""

import asyncio
from typing import Any

import grpc

from common.wire.stream import StreamBroken
from receiver.link.auth.limits import RateLimiter

# What the receiver sends in this time fits the buffers between the ends, unless the sender does not read at all.
_WRITE_TIMEOUT_S = 10.0


class _WriteDeadline:
    """Cancels a write that takes too long.

    One timer watches many writes: `asyncio.timeout` for each of them costs as much as parsing a frame.
    """

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

    async def write(self, data: bytes) -> None:
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
