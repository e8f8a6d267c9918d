"""The relay of the deployment as a network that fails, for tests whose subject are sockets."""

import asyncio
import math

from common.io.addresses import Address
from deploy.relay.relay import Datagrams, Direction, Link, Relay, listening


class _Gate(Direction):
    """Attributes: whether TCP and UDP pass, and how many bytes did, headers included."""

    tcp = udp = True
    sent_bytes = 0

    def send(self, size: int) -> float:
        """See `Direction.send`; what does not pass leaves when the world ends."""
        self.sent_bytes += size
        return super().send(size) if self.tcp else math.inf

    @property
    def queue_s(self) -> float:
        """See `Direction.queue_s`: datagrams behind a long queue are lost."""
        return super().queue_s if self.udp else math.inf


class BreakableRelay:
    """Relays TCP and UDP from one port to `target`."""

    def __init__(self, target: Address) -> None:
        link, place, now = Link(None, 0.0), (target.host, target.port), asyncio.get_running_loop().time
        self._relay = Relay(link, place)
        self._gates = self._relay._up, self._relay._down = _Gate(link, now), _Gate(link, now)
        self._relay.datagrams = Datagrams(link, place, *self._gates)

    async def start(self, port: int = 0) -> Address:
        """Returns the address to connect to."""
        self._server = listening(("127.0.0.1", port))
        listen = self._server.getsockname()
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self._relay.datagrams, local_addr=listen)
        self._serving = asyncio.create_task(self._relay.serve(self._server))
        return Address(*listen)

    @property
    def sent_bytes(self) -> int:
        """To the target, headers included."""
        return self._gates[0].sent_bytes

    def pass_on(self, *, tcp: bool = True, udp: bool = True) -> None:
        """What passes from now on; without TCP connections stay half open, and new ones are accepted."""
        for gate in self._gates:
            gate.tcp, gate.udp = tcp, udp

    def cut(self) -> None:
        """Closes all connections; data in flight are lost."""
        for task in self._relay._connections:
            task.cancel()

    async def stop(self) -> None:
        """Frees the port."""
        self._serving.cancel()
        self.cut()
        await asyncio.gather(self._serving, *self._relay._connections, return_exceptions=True)
        self._udp.close()
        self._server.close()
