"""The handshake of a stream: Hello, Welcome, and whether the two ends fit."""

import asyncio
from typing import Protocol

from common.errors import ModelMismatch, PeerError, VersionMismatch, WireError
from common.io.addresses import Address
from common.wire.convert import Hello, Welcome, decode_server, encode_client
from common.wire.stream import MessageStream, StreamBroken
from common.wire.version_probe import is_of_networks, is_probe


class Closable(Protocol):
    """A connection that its owner can end."""

    async def close(self) -> None:
        """Ends it in any state."""


class ClientStream(MessageStream, Closable, Protocol):
    """A `MessageStream` that its owner can end."""


class StreamOpener(Protocol):
    """Opens streams to a peer, and diagnoses why one cannot be opened."""

    async def reach(self, peer: Address) -> ClientStream:
        """Opens a stream over an established connection, as soon as the peer's network is reachable.

        Raises:
            StreamBroken: the peer's machine refuses the connection, or its name is not known.
        """

    async def diagnose(self, peer: Address) -> str | None:
        """What is wrong with the server at an address, and what to do about it; None if nothing answers."""


async def handshake(peer: Address, hello: Hello, stream: ClientStream, timeout_s: float) -> Welcome:
    """Sends Hello and waits for Welcome; closes the stream unless the two ends fit.

    A probe fits where it is refused for its networks alone; the answer has those of the receiver.

    Raises:
        TimeoutError: no answer within `timeout_s`.
        StreamBroken: the stream ended.
        PeerError: the peer does not speak the protocol.
        ModelMismatch: the receiver has other weights.
        VersionMismatch: the receiver refuses the session.
    """
    accepted = False
    try:
        async with asyncio.timeout(timeout_s):
            await stream.write(encode_client(hello))
            answer = await stream.read()
        welcome = read_welcome(peer, answer)
        _require_fit(peer, hello, welcome)
        accepted = True
        return welcome
    finally:
        if not accepted:
            await stream.close()


def read_welcome(peer: Address, answer: bytes | None) -> Welcome:
    """The answer to Hello.

    Raises:
        StreamBroken: there is none.
        PeerError: the peer does not speak the protocol.
    """
    if answer is None:
        raise StreamBroken("CANCELLED", "the receiver ended the stream")
    try:
        welcome = decode_server(answer)
    except WireError as error:
        raise PeerError(f"{peer} is a gRPC server, but does not speak Bodywire's protocol: check --peer") from error
    if not isinstance(welcome, Welcome):
        raise PeerError(f"{peer} did not answer Hello with Welcome: check --peer and the versions on both ends")
    return welcome


def _require_fit(peer: Address, hello: Hello, welcome: Welcome) -> None:
    if not is_probe(hello):
        require_same_networks(peer, hello.model_hash, welcome)
    if not (welcome.accepted or (is_probe(hello) and is_of_networks(welcome.reason))):
        raise VersionMismatch(f"the receiver at {peer} refused the session: {welcome.reason}")


def require_same_networks(peer: Address, ours: bytes, welcome: Welcome) -> None:
    """Raises ModelMismatch if the receiver has other weights than these."""
    if welcome.model_hash != ours:
        raise ModelMismatch(
            f"sender and receiver have different models: {ours.hex()} here, {welcome.model_hash.hex()} at {peer}; "
            "install the same version of Bodywire on both ends"
        )
