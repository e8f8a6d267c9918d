"""Greets a receiver without beginning a session: whether it is there, takes this sender, and fits it."""

import asyncio
import logging
import math
import random
from collections.abc import Sequence

from common.errors import PeerError
from common.io.addresses import Address
from common.io.tasks import cancel
from common.wire.stream import StreamBroken
from common.wire.version_probe import probe_hello
from sender.link.connector import (
    Connector,
    NoReceiver,
    StreamOpener,
    handshake,
    raise_if_refused,
    require_same_networks,
)
from sender.link.diagnosis import unreachable

logger = logging.getLogger(__name__)

# For a receiver that may be absent: what is there answers sooner.
_ANSWER_S = 1.0


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
            stream = await transport.reach(peer)
        welcome = await handshake(peer, probe_hello("sender doctor"), stream, timeout_s)
    except (StreamBroken, TimeoutError) as error:
        reason = "no answer"
        if isinstance(error, StreamBroken):
            raise_if_refused(peer, error)
            reason = error.reason
        raise PeerError(unreachable(str(peer), f"({reason})")) from error
    await stream.close()
    require_same_networks(peer, networks, welcome)
    return "QUIC" if stream.lossy else "gRPC"


async def find_receiver(
    transport: StreamOpener,
    peers: Sequence[Address],
    name: str,
    networks: bytes,
    timeout_s: float,
    *,
    may_be_absent: bool = False,
) -> None:
    """Waits until one of some receivers takes this sender, and begins no session.

    Args:
        name: of the sender, for the receiver's log.
        networks: hash of the sender's weights.
        timeout_s: for a receiver to be there.
        may_be_absent: a second is long enough.

    Raises:
        PeerError, ModelMismatch, VersionMismatch: as `Connector.connect`.
    """
    wait_s = math.inf if may_be_absent else timeout_s
    connector = Connector(peers, transport, random.Random(), connect_timeout_s=wait_s, reconnect_timeout_s=wait_s)
    finding = asyncio.ensure_future(connector.connect(probe_hello(name)))
    try:
        await asyncio.wait([finding], timeout=_ANSWER_S if may_be_absent else None)
        if finding.done():
            stream, welcome = await finding
            await stream.close()
            require_same_networks(connector.peer, networks, welcome)
    except NoReceiver as error:
        if not may_be_absent:
            raise
        logger.warning("%s", error)
    finally:
        await cancel([finding])
        await connector.standby.dismiss()
