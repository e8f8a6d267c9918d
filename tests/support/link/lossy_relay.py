"""Relays UDP between a sender and a receiver, and loses, reorders or withholds packets as a test asks."""

import asyncio
from collections.abc import Callable
from typing import Any

from common.io.addresses import Address

# Of UDP and IPv4.
_HEADER_BYTES = 28

Loses = Callable[[int, bool], bool]
"""Whether a packet is lost: its number, from 0, and whether it goes to the receiver."""


class LossyRelay(asyncio.DatagramProtocol):
    """Takes packets of one sender at a time.

    Attributes:
        loses: may be replaced at any time.
        ip_bytes: of all packets, headers included.
        captured: the packets to the receiver, lost ones too.
        sent_bytes: of those, without headers.
    """

    def __init__(self, target: Address, loses: Loses = lambda number, forward: False) -> None:
        self._target = (target.host, target.port)
        self.loses = loses
        self.ip_bytes = 0
        self.captured: list[bytes] = []
        self._count = 0
        self._sender: Any = None
        self._transport: Any = None
        self._forward: Any = None

    @property
    def sent_bytes(self) -> int:
        return sum(map(len, self.captured))

    async def start(self, port: int = 0) -> Address:
        """Returns the address to send to."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self._forward, _ = await loop.create_datagram_endpoint(lambda: _Back(self), remote_addr=self._target)
        return Address(*self._transport.get_extra_info("sockname"))

    async def move(self) -> None:
        """Sends to the receiver from another port from now on, as a router that has forgotten the sender's."""
        loop, old = asyncio.get_running_loop(), self._forward
        self._forward, _ = await loop.create_datagram_endpoint(lambda: _Back(self), remote_addr=self._target)
        old.close()

    def repeat(self, packet: bytes) -> None:
        """Sends a packet to the receiver again."""
        self._forward.sendto(packet)

    async def stop(self) -> None:
        """Closes both sockets."""
        self._transport.close()
        self._forward.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._sender = addr
        self.captured.append(data)
        self.ip_bytes += len(data) + _HEADER_BYTES
        if self._passes(forward=True):
            self._forward.sendto(data)

    def on_answer(self, data: bytes) -> None:
        """Passes a packet of the receiver on."""
        self.ip_bytes += len(data) + _HEADER_BYTES
        if self._sender is not None and self._passes(forward=False):
            self._transport.sendto(data, self._sender)

    def _passes(self, *, forward: bool) -> bool:
        number, self._count = self._count, self._count + 1
        return not self.loses(number, forward)


class _Back(asyncio.DatagramProtocol):
    def __init__(self, relay: LossyRelay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._relay.on_answer(data)
