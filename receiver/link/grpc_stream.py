"""The gRPC server end of a `MessageStream`."""

import asyncio
from typing import Any

import grpc

from common.wire.stream import StreamBroken
from receiver.link.auth.limits import RateLimiter

# What the receiver sends in this time fits the buffers between the ends, unless the sender does not read at all.
_WRITE_TIMEOUT_S = 10.0


class GrpcServerStream:
    """One call of `SemanticLink.Stream`; a sender that does not read loses it.

    Args:
        context: the stream's gRPC context.
        rate_limiter: slows down reading.
    """

    def __init__(self, context: Any, rate_limiter: RateLimiter) -> None:
        self._context = context
        self._rate_limiter = rate_limiter
        self._writing = asyncio.Lock()

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
            try:
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    await self._context.write(data)
            except TimeoutError:
                raise StreamBroken("DEADLINE_EXCEEDED", "the sender does not read") from None
            except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
                raise StreamBroken("CANCELLED", "the stream has ended") from error
