"""Detects the end of an outage within a fraction of a second, by TCP connection attempts in quick succession."""

import asyncio
import socket
import struct

from common.io.addresses import Address

# TCP retransmits a lost SYN after a second; a new connection sends one at once.
_PROBE_INTERVAL_S = 0.1
_PROBE_TIMEOUT_S = 1.0
_LINGER_RESET = struct.pack("ii", 1, 0)


async def reachability_probe(peer: Address) -> None:
    """Returns as soon as the peer's machine answers, with or without a server on the port."""
    loop = asyncio.get_running_loop()
    probes: set[asyncio.Task[bool]] = set()
    try:
        while True:
            probes.add(asyncio.create_task(_answers(peer)))
            started_s = loop.time()
            done, probes = await asyncio.wait(probes, timeout=_PROBE_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
            if any(probe.result() for probe in done):
                return
            # Without a route a probe fails at once, and so would the next one.
            await asyncio.sleep(started_s + _PROBE_INTERVAL_S - loop.time())
    finally:
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


async def _answers(peer: Address) -> bool:
    """Whether the machine at an address accepts or refuses a connection."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(peer.host, peer.port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    # A reset is one packet; an orderly end would take several on a network that has just recovered.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()
    return True
