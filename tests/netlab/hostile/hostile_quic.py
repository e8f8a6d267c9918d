"""A QUIC client that sends what it likes, or falls silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent

from common.io.addresses import Address
from common.wire.quic_connection import LinkConnection, configuration

HALF_OPEN = 2
"""Flights of a client that answers the validation of its address, and no more."""


class HostileQuic(QuicConnectionProtocol):
    """One connection.

    Args:
        flights: how often it sends; None for no limit.
    """

    def __init__(self, quic: QuicConnection, flights: int | None) -> None:
        super().__init__(quic)
        self._flights = flights
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def transmit(self) -> None:
        if self._flights is None:
            super().transmit()
        elif self._flights:
            self._flights -= 1
            super().transmit()

    def datagram_received(self, data: Any, addr: Any) -> None:
        if self._flights != 0:
            super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated) and not self.ended.done():
            self.ended.set_result(event.reason_phrase)

    def put(self, data: bytes) -> None:
        """Sends bytes on the stream."""
        self._quic.send_stream_data(0, data)
        self.transmit()

    def put_datagram(self, data: bytes) -> None:
        """Sends a datagram."""
        self._quic.send_datagram_frame(data)
        self.transmit()

    async def end(self) -> str:
        """Waits until the receiver ends the connection; returns why."""
        async with asyncio.timeout(15):
            return await self.ended


@asynccontextmanager
async def hostile_quic(
    address: Address, authority: Path | None, flights: int | None = None
) -> AsyncIterator[HostileQuic]:
    """A connection whose handshake is complete, unless it has a limited number of flights.

    Raises:
        TimeoutError: no answer.
    """
    settings = configuration(is_sender=True)
    settings.server_name = address.host
    settings.cadata = None if authority is None else authority.read_bytes()
    made: Any = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: HostileQuic(LinkConnection(configuration=settings), flights), remote_addr=(address.host, address.port)
    )
    transport, client = made
    try:
        client.connect((address.host, address.port))
        if flights is None:
            async with asyncio.timeout(15):
                await client.wait_connected()
        yield client
    finally:
        client._flights = 0
        transport.close()


class Stranger(asyncio.DatagramProtocol):
    """Sends packets from an address of its own.

    Attributes:
        received_bytes: of the answers.
    """

    received_bytes = 0
    _transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received_bytes += len(data)

    def send(self, packet: bytes) -> None:
        """Sends a packet."""
        self._transport.sendto(packet)


@asynccontextmanager
async def stranger(address: Address) -> AsyncIterator[Stranger]:
    """Somebody who sends to an address."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(Stranger, remote_addr=(address.host, address.port))
    try:
        yield made
    finally:
        transport.close()
