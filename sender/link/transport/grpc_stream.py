"""The gRPC client end of a `MessageStream`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from common.connections import TcpConnection, TcpConnections
from common.wire.certificates import OWN_CERTIFICATE_KEY
from common.wire.stream import CHANNEL_OPTIONS, StreamBroken

OPTIONS = (
    *CHANNEL_OPTIONS,
    # Channels of one process share gRPC's backoff by default; the delays between our attempts are our own.
    ("grpc.use_local_subchannel_pool", 1),
)

_CONNECTIONS = TcpConnections()

# gRPC's message when a stream ends during a write, before the reason has arrived.
_WRITING_FAILED = "Internal error from Core"


class GrpcClientStream:
    """One call of `SemanticLink.Stream` on a channel of its own.

    Args:
        channel: closed with the stream.
        port: of the peer.

    Raises:
        StreamBroken: in every method: the stream has ended.
    """

    lossy = False

    def __init__(self, channel: Any, call: Any, port: int) -> None:
        self._channel = channel
        self._call = call
        self._port = port
        self._writing = asyncio.Lock()

    async def connected(self) -> None:
        """Waits until the connection to the peer is established."""
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error

    async def own_certificate(self) -> bytes | None:
        """The certificate that the receiver has made for itself, DER, for QUIC; None if it tells none."""
        try:
            told = dict(await self._call.initial_metadata()).get(OWN_CERTIFICATE_KEY)
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error
        return told if isinstance(told, bytes) else None

    async def read(self) -> bytes | None:
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error
        return None if data is grpc.aio.EOF else bytes(data)

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        async with self._writing:
            try:
                await self._call.write(data)
            except grpc.aio.AioRpcError as error:
                raise _broken(error) from error
            except asyncio.InvalidStateError as error:
                # The call ended earlier; its status is known by now.
                code, details = await self._call.code(), await self._call.details()
                raise StreamBroken(code.name, details or "the stream has ended") from error

    def connections(self) -> Sequence[TcpConnection]:
        """See `MessageStream.connections`; standby connections to the same port are among them."""
        return _CONNECTIONS.to_port(self._port)

    async def close(self) -> None:
        """Ends the call in any state and closes its connection."""
        self._call.cancel()
        await self._channel.close()


def _broken(error: Any) -> StreamBroken:
    code, details = error.code().name, error.details() or "no reason given"
    reason = details.splitlines()[0]
    if code == "INTERNAL" and reason == _WRITING_FAILED:
        code, reason = "CANCELLED", "the receiver ended the stream"
    if code == "UNAVAILABLE":
        # gRPC reports every step of resolving and connecting; the last part is the cause.
        reason = reason.rsplit(": ", 1)[-1].strip("[]")
    return StreamBroken(code, reason)
