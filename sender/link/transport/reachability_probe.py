"""Finds out within a moment that there is a network again."""

import asyncio
import socket
import struct

from common.io.addresses import Address

# A lost SYN is sent again after a second; a new connection sends one at once.
_EVERY_S = 0.1
_PATIENCE_S = 1.0
_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


async def reachability_probe(peer: Address) -> None:
    """Returns as soon as there is a network to the peer, whether or not anybody listens there."""
    probes: set[asyncio.Task[bool]] = set()
    try:
        while True:
            probes.add(asyncio.create_task(_answers(peer)))
            began_s = asyncio.get_running_loop().time()
            done, probes = await asyncio.wait(probes, timeout=_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            if any(one.result() for one in done):
                return
            # Where there is no way at all, a probe fails at once; the next one would too.
            await asyncio.sleep(began_s + _EVERY_S - asyncio.get_running_loop().time())
    finally:
        for one in probes:
            one.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


async def _answers(peer: Address) -> bool:
    """Whether a machine answers at an address, be it with a refusal."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(peer.host, peer.port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    # One packet instead of a conversation about parting, with somebody who has just got a network back.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
    writer.transport.abort()
    return True
