"""Finds the machine of a receiver: looks its name up, and probes its addresses until one answers."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from common.io.addresses import Address
from common.io.tasks import cancel
from common.wire.stream import StreamBroken

# A name service that does not answer within this time is down: resolvers try for up to half a minute.
_LOOKUP_S, _LOOKUP_POLL_S = 2.0, 0.01
# After this time without an answer the name is looked up again: the receiver may have moved.
_LOOKUP_AGAIN_S = 10.0
# TCP retransmits a lost SYN after a second; a new connection sends one at once.
PROBE_INTERVAL_S = 0.1
_PROBE_TIMEOUT_S = 1.0
_LINGER_RESET = struct.pack("ii", 1, 0)


class Names:
    """Looks names up; while the name service does not answer, the addresses that it gave last stay in use."""

    def __init__(self) -> None:
        self._known: dict[Address, Sequence[Address]] = {}
        self._lookups: dict[Address, Future[Sequence[Address] | str]] = {}

    async def addresses(self, peer: Address) -> Sequence[Address]:
        """The IP addresses of a peer.

        Raises:
            StreamBroken: its name is not known, or the name service does not answer.
        """
        if peer.is_ip:
            return [peer]
        lookup = self._lookups.get(peer)
        if lookup is None:
            lookup = self._lookups[peer] = Future()
            # Nothing ends a lookup: it must keep neither the event loop's threads nor the process.
            threading.Thread(target=_look_up, args=(peer, lookup), name="lookup", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOKUP_S):
                while not lookup.done():
                    await asyncio.sleep(_LOOKUP_POLL_S)
        found: Sequence[Address] | str = "the name service does not answer"
        if lookup.done():
            found = lookup.result()
            self._lookups.pop(peer, None)
        if not isinstance(found, str):
            self._known[peer] = found
        elif peer not in self._known:
            raise StreamBroken("UNAVAILABLE", found)
        return self._known[peer]

    async def reachable(self, peer: Address, interval_s: float = PROBE_INTERVAL_S) -> Address:
        """The IP address of a peer whose machine answers, as soon as one does, with or without a server on the port.

        Args:
            interval_s: between probes.

        Raises:
            StreamBroken: as `addresses`.
        """
        while True:
            addresses = await self.addresses(peer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOKUP_AGAIN_S):
                    return await first_to_answer(addresses, interval_s)


def _look_up(peer: Address, found: Future[Sequence[Address] | str]) -> None:
    """Sets the IP addresses of a peer, or why there are none."""
    try:
        places = [entry[4] for entry in socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)]
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        found.set_result([Address(socket.getnameinfo(place, numeric)[0], peer.port) for place in places])
    except OSError as error:
        found.set_result(error.strerror or str(error))


async def first_to_answer(addresses: Sequence[Address], interval_s: float = PROBE_INTERVAL_S) -> Address:
    """The first address whose machine answers; rather one that accepts connections than one that refuses them."""
    loop = asyncio.get_running_loop()
    probes: set[asyncio.Task[Address | None]] = set()
    try:
        while True:
            probes.add(asyncio.create_task(_probe(addresses)))
            started_s = loop.time()
            done, probes = await asyncio.wait(probes, timeout=interval_s, return_when=asyncio.FIRST_COMPLETED)
            for probe in done:
                if (answering := probe.result()) is not None:
                    return answering
            # Without a route a probe fails at once, and so would the next one.
            await asyncio.sleep(started_s + interval_s - loop.time())
    finally:
        await cancel(probes)


async def _probe(addresses: Sequence[Address]) -> Address | None:
    """The first of some addresses that accepts a connection; if none does, one that refuses it."""
    attempts = [asyncio.create_task(_accepts(address)) for address in addresses]
    refusing = None
    try:
        for attempt in asyncio.as_completed(attempts):
            address, accepts = await attempt
            if accepts:
                return address
            if accepts is not None:
                refusing = address
        return refusing
    finally:
        await cancel(attempts)


async def _accepts(address: Address) -> tuple[Address, bool | None]:
    """Whether the machine at an address accepts a connection; None if it does not answer."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionRefusedError:
        return address, False
    except (OSError, TimeoutError):
        return address, None
    # A reset is one packet; an orderly end would take several on a network that has just recovered.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()
    return address, True
