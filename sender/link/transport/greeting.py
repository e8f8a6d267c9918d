"""Greets a receiver without beginning a session: whether it is there, takes this sender, and fits it."""

import asyncio

from common.errors import PeerError, VersionMismatch
from common.io.addresses import Address
from common.wire.convert import Welcome, encode_client
from common.wire.stream import StreamBroken
from common.wire.version_probe import is_of_networks, probe_hello
from sender.link.transport.connector import raise_if_refused
from sender.link.transport.diagnosis import unreachable
from sender.link.transport.handshake import StreamOpener, read_welcome, require_same_networks


async def greet(transport: StreamOpener, peer: Address, networks: bytes, timeout_s: float) -> str:
    """Makes a handshake that the receiver refuses because of its networks alone, if it is one that fits.

    Args:
        networks: hash of the sender's weights.

    Returns:
        Over what: "QUIC" or "gRPC".

    Raises:
        PeerError: nothing answers in time, or something that is no receiver, or it refuses this sender.
        ModelMismatch: the receiver has other weights.
        VersionMismatch: the receiver has another version of protocol or codec.
    """
    if diagnosis := await transport.diagnose(peer):
        raise PeerError(diagnosis)
    try:
        async with asyncio.timeout(timeout_s):
            welcome, lossy = await _welcome(transport, peer)
    except (StreamBroken, TimeoutError) as error:
        reason = "no answer"
        if isinstance(error, StreamBroken):
            raise_if_refused(peer, error)
            reason = error.reason
        raise PeerError(unreachable(str(peer), f"({reason})")) from error
    if not is_of_networks(welcome.reason):
        raise VersionMismatch(f"the receiver at {peer} would refuse the session: {welcome.reason}")
    require_same_networks(peer, networks, welcome)
    return "QUIC" if lossy else "gRPC"


async def _welcome(transport: StreamOpener, peer: Address) -> tuple[Welcome, bool]:
    stream = await transport.reach(peer)
    try:
        await stream.write(encode_client(probe_hello("sender doctor")))
        return read_welcome(peer, await stream.read()), stream.lossy
    finally:
        await stream.close()
