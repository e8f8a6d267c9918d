"""From an address to an agreed stream, or to one clear line about why there is none."""

import asyncio
from typing import Protocol

from common.errors import ModelMismatch, PeerError, VersionMismatch, WireError
from common.io.addresses import Address
from common.wire.convert import Hello, Welcome, decode_server, encode_client
from common.wire.stream import MessageStream, StreamBroken
from sender.link.transport.backoff import Backoff
from sender.link.transport.standby_connection import StandbyConnection

# A peer that takes the connection and then says nothing is given up on and tried anew, with twice the patience.
_ATTEMPT_S, _LONGEST_ATTEMPT_S = 1.0, 4.0
# Once may be a receiver that opened its port between our attempt and the probe.
_FOREIGN_ATTEMPTS = 2
_REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED")


class ClientStream(MessageStream, Protocol):
    """A `MessageStream` that its owner can end."""

    async def close(self) -> None:
        """Ends the stream, whatever state it is in."""


class StreamOpener(Protocol):
    """Makes streams to a peer, and says what may be wrong with it."""

    async def reach(self, peer: Address) -> ClientStream:
        """A stream over a connection that stands, as soon as there is a network to the peer.

        Raises:
            StreamBroken: the peer's machine answers, but nobody there takes connections.
        """

    async def probe(self, peer: Address) -> str | None:
        """What is wrong with what answers at an address, and what to do; None if nothing answers."""


async def open_link(
    peer: Address,
    hello: Hello,
    *,
    timeout_s: float,
    backoff: Backoff,
    transport: StreamOpener,
    standby: StandbyConnection[ClientStream],
    patient: bool = False,
) -> tuple[ClientStream, Welcome]:
    """Connects and shakes hands, trying again with backoff.

    Args:
        timeout_s: how long to go on trying.
        standby: makes the connections, with `transport`.
        patient: go on also when something answers that is no receiver: we spoke with one there before.

    Raises:
        PeerError: nothing answers, or something that is not a receiver.
        ModelMismatch: the receiver has other weights.
        VersionMismatch: it speaks another version of the protocol.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    patience_s, foreign = _ATTEMPT_S, 0
    while True:
        try:
            async with asyncio.timeout_at(deadline_s):
                stream = await standby.take()
                opened = await _agree(peer, hello, stream, patience_s)
            backoff.reset()
            return opened
        except TimeoutError:
            reason = "no answer"
        except StreamBroken as error:
            _give_up_if_refused(peer, error)
            reason = error.reason
        patience_s = min(2 * patience_s, _LONGEST_ATTEMPT_S)
        delay_s = backoff.next_s()
        late = loop.time() + delay_s >= deadline_s
        wrong = None if patient and not late else await transport.probe(peer)
        foreign += wrong is not None
        if late or foreign >= _FOREIGN_ATTEMPTS:
            nobody = f"no receiver at {peer} within {timeout_s:g} s ({reason}): start it, or check --peer"
            raise PeerError(wrong or nobody)
        await asyncio.sleep(delay_s)


def _give_up_if_refused(peer: Address, error: StreamBroken) -> None:
    if error.code == "UNIMPLEMENTED":
        raise PeerError(f"{peer} is a gRPC server, but not a Bodywire receiver: check --peer") from error
    if error.code in _REFUSALS:
        raise PeerError(f"the receiver at {peer} refused the connection: {error.reason}") from error


async def _agree(peer: Address, hello: Hello, stream: ClientStream, timeout_s: float) -> tuple[ClientStream, Welcome]:
    agreed = False
    try:
        async with asyncio.timeout(timeout_s):
            await stream.write(encode_client(hello))
            first = await stream.read()
        welcome = _judge(peer, hello, first)
        agreed = True
        return stream, welcome
    finally:
        if not agreed:
            await stream.close()


def _judge(peer: Address, hello: Hello, first: bytes | None) -> Welcome:
    if first is None:
        raise StreamBroken("CANCELLED", "it hung up")
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
