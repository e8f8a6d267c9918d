"""Relays between sockets of the loopback, for tests whose subject are sockets: TCP that breaks, UDP that is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

from common.io.addresses import Address


class TcpRelay:
    """Relays every connection to `target`; also connections made after a cut.

    Attributes:
        sent_bytes: to the target.
        dead: delivers nothing, while all connections stay half open and new ones are accepted.
    """

    def __init__(self, target: Address) -> None:
        self._target = target
        self.sent_bytes, self.dead = 0, False
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> Address:
        """Returns the address to connect to."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return self.address

    @property
    def address(self) -> Address:
        """The address on which it listens."""
        return Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Resets all connections; data in flight are lost."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        """Stops listening and resets all connections."""
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, target_writer}
        await asyncio.gather(
            self._relay(reader, target_writer, lambda size: self._count(size)),
            self._relay(target_reader, writer, lambda size: None),
        )

    def _count(self, size: int) -> None:
        self.sent_bytes += size

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        try:
            while data := await source.read(65536):
                count(len(data))
                if not self.dead:
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass  # the cut
        finally:
            sink.close()


class UdpRelay(asyncio.DatagramProtocol):
    """Takes packets of one sender at a time.

    Attributes:
        sent_bytes: to the target, without headers, of packets that are lost too.
    """

    def __init__(self, target: Address, loses: Callable[[], bool] = lambda: False) -> None:
        self._target, self._loses = (target.host, target.port), loses
        self.sent_bytes = 0
        self._sender: Any = None
        self._sockets: list[Any] = []

    async def start(self, port: int = 0) -> Address:
        """Returns the address to send to."""
        loop = asyncio.get_running_loop()
        here, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        there, _ = await loop.create_datagram_endpoint(lambda: _Back(self), remote_addr=self._target)
        self._sockets = [here, there]
        return Address(*here.get_extra_info("sockname"))

    async def stop(self) -> None:
        """Closes both sockets."""
        for each in self._sockets:
            each.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._sender = addr
        self.sent_bytes += len(data)
        if not self._loses():
            self._sockets[1].sendto(data)

    def answer(self, data: bytes) -> None:
        """Passes a packet of the receiver on."""
        if self._sender is not None and not self._loses():
            self._sockets[0].sendto(data, self._sender)


class _Back(asyncio.DatagramProtocol):
    def __init__(self, relay: UdpRelay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._relay.answer(data)
