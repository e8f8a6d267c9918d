"""The gRPC server end of a `MessageStream`, and the limit on connections that have none."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import grpc

from common.connections import TcpConnection, TcpConnections, superfluous
from common.wire.stream import StreamBroken, peer_name
from receiver.link.auth.authenticator import host_of

# What the receiver sends in this time fits the buffers between the ends, unless the sender does not read at all.
_WRITE_TIMEOUT_S = 10.0
_CONNECTIONS = TcpConnections()
_COUNT_INTERVAL_S = 1.0
# Of the connections that a port takes: above the first share, idle ones end down to the second.
_CROWDED_SHARE, _CLEARED_SHARE = 0.75, 0.5


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
        host, port = _remote(self._context.peer())
        return _CONNECTIONS.from_host(host, port)

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


class ConnectionLimit:
    """Keeps room for new connections to a port: of too many, idle ones end, the oldest of the busiest host first.

    gRPC itself ends a connection without a stream after half a minute, but not one that asks for the health again and
    again, and takes everybody's connections alike.

    Args:
        most: connections that the port takes.
        peers: of the streams that are served, as gRPC writes them.
    """

    def __init__(self, port: int, most: int, peers: Callable[[], Iterable[str]]) -> None:
        self._port, self._most, self._peers = port, most, peers
        self._seen: dict[int, TcpConnection] = {}

    async def watch(self) -> None:
        """Counts them each second, until cancelled."""
        while True:
            await asyncio.sleep(_COUNT_INTERVAL_S)
            for connection in self.superfluous(_CONNECTIONS.at_port(self._port)):
                connection.shut_down()

    def superfluous(self, connections: Iterable[TcpConnection]) -> Iterator[TcpConnection]:
        """Those of the present connections for which there is no room."""
        present = {connection.number: connection for connection in connections}
        # In the order in which they were seen first.
        self._seen = {number: present[number] for number in (*self._seen, *present) if number in present}
        if len(present) <= _CROWDED_SHARE * self._most:
            return
        served = {_remote(peer) for peer in self._peers()}
        idle = ((each, host_of(peer_name(*each.remote))) for each in self._seen.values() if each.remote not in served)
        yield from superfluous(idle, len(present) - int(_CLEARED_SHARE * self._most))


def _remote(peer: str) -> tuple[str, int]:
    """Address and port of a gRPC peer; port 0 of one without."""
    host, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.strip("[]").removeprefix("::ffff:"), int(port) if port.isdigit() else 0
