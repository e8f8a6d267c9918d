"""From an address to an agreed stream, or to one clear line about why there is none."""

import asyncio
import contextlib
from typing import Protocol

from common.addresses import Address
from common.errors import ModelMismatch, PeerError, VersionMismatch, WireError
from common.wire.convert import Hello, Welcome, decode_server, encode_client
from common.wire.stream import MessageStream, StreamBroken
from sender.link.backoff import Backoff

# A peer that takes the connection and then says nothing is given up on and tried anew.
_ATTEMPT_S = 2.0
# Once may be a receiver that opened its port between our attempt and the probe.
_FOREIGN_ATTEMPTS = 2
_REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED")


class ClientStream(MessageStream, Protocol):
    """A `MessageStream` that its owner can end."""

    async def close(self) -> None:
        """Ends the stream, whatever state it is in."""


class StreamOpener(Protocol):
    """Makes streams to a peer, and says what may be wrong with it."""

    async def open(self, peer: Address) -> ClientStream:
        """Begins to connect; a peer that cannot be reached shows when reading or writing."""

    async def knock(self, peer: Address) -> None:
        """Returns as soon as there is a network to the peer, whether or not a receiver listens there."""

    async def probe(self, peer: Address) -> str | None:
        """What is wrong with what answers at an address, and what to do; None if nothing answers."""


class _NoStream(Exception):
    """One attempt failed, and the next may not."""


async def open_link(
    peer: Address,
    hello: Hello,
    *,
    timeout_s: float,
    backoff: Backoff,
    transport: StreamOpener,
    patient: bool = False,
    reached: bool = False,
) -> tuple[ClientStream, Welcome]:
    """Connects and shakes hands, trying again with backoff.

    Args:
        timeout_s: how long to go on trying.
        patient: go on also when something answers that is no receiver: we spoke with one there before.
        reached: a knock has just been answered.

    Raises:
        PeerError: nothing answers, or something that is not a receiver.
        ModelMismatch: the receiver has other weights.
        VersionMismatch: it speaks another version of the protocol.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    foreign = 0
    while True:
        remaining_s = deadline_s - loop.time()
        if patient and not reached:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining_s):
                    await transport.knock(peer)
            remaining_s = deadline_s - loop.time()
        reached = False
        try:
            opened = await _attempt(peer, hello, max(min(remaining_s, _ATTEMPT_S), 0.01), transport)
            backoff.reset()
            return opened
        except _NoStream as error:
            reason = str(error)
        wrong = await transport.probe(peer)
        foreign += wrong is not None
        delay_s = backoff.next_s()
        late = loop.time() + delay_s >= deadline_s
        if late or (foreign >= _FOREIGN_ATTEMPTS and not patient):
            nobody = f"no receiver at {peer} within {timeout_s:g} s ({reason}): start it, or check --peer"
            raise PeerError(wrong or nobody)
        await asyncio.sleep(delay_s)


async def _attempt(
    peer: Address, hello: Hello, timeout_s: float, transport: StreamOpener
) -> tuple[ClientStream, Welcome]:
    stream = await transport.open(peer)
    agreed = False
    try:
        async with asyncio.timeout(timeout_s):
            await stream.write(encode_client(hello))
            first = await stream.read()
        welcome = _judge(peer, hello, first)
        agreed = True
        return stream, welcome
    except TimeoutError:
        raise _NoStream("no answer") from None
    except StreamBroken as error:
        if error.code == "UNIMPLEMENTED":
            raise PeerError(f"{peer} is a gRPC server, but not a Bodywire receiver: check --peer") from error
        if error.code in _REFUSALS:
            raise PeerError(f"the receiver at {peer} refused the connection: {error.reason}") from error
        raise _NoStream(error.reason) from error
    finally:
        if not agreed:
            await stream.close()


def _judge(peer: Address, hello: Hello, first: bytes | None) -> Welcome:
    if first is None:
        raise _NoStream("it hung up")
    try:
        welcome = decode_server(first)
    except WireError as error:
        raise PeerError(f"{peer} is a gRPC server, but does not speak Bodywire's protocol: check --peer") from error
    if not isinstance(welcome, Welcome):
        raise PeerError(f"{peer} did not answer the greeting with one: check --peer and the versions on both ends")
    if welcome.model_hash != hello.model_hash:
        ours, theirs = hello.model_hash.hex(), welcome.model_hash.hex()
        raise ModelMismatch(
            f"sender and receiver have different models: {ours} here, {theirs} at {peer}; "
            "install the same version of Bodywire on both ends"
        )
    if not welcome.accepted:
        raise VersionMismatch(f"the receiver at {peer} refused the session: {welcome.reason}")
    return welcome
