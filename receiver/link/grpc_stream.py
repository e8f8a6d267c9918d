"""The gRPC server end of a `MessageStream`."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import grpc

from common.io.tcp_info import TcpConnection, TcpConnections
from common.wire.stream import StreamBroken

# What the receiver sends in this time fits the buffers between the ends, unless the sender does not read at all.
_WRITE_TIMEOUT_S = 10.0
_CONNECTIONS = TcpConnections()


class GrpcServerStream:
    """One call of `SemanticLink.Stream`; a sender that does not read loses it."""

    lossy = False

    def __init__(self, context: Any) -> None:
        self._context = context
        self._writing = asyncio.Lock()

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        try:
            data = await self._context.read()
        except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            raise StreamBroken("CANCELLED", "the stream has ended") from error
        return None if data is grpc.aio.EOF else bytes(data)

    def connections(self) -> Sequence[TcpConnection]:
        """See `MessageStream.connections`."""
        host, _, port = unquote(self._context.peer().partition(":")[2]).rpartition(":")
        return _CONNECTIONS.from_host(host.strip("[]"), int(port)) if port.isdigit() else ()

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        """See `MessageStream.write`."""
        async with self._writing:
            try:
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    await self._context.write(data)
            except TimeoutError as error:
                raise StreamBroken("DEADLINE_EXCEEDED", "the sender does not read") from error
            except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
                raise StreamBroken("CANCELLED", "the stream has ended") from error
