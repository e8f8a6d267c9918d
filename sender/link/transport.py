"""Streams over gRPC, and the address of a name at which a receiver is reached."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import grpc

from common.connections import TcpConnection, TcpConnections
from common.io.addresses import Address
from common.io.tasks import cancel
from common.wire.certificates import OWN_CERTIFICATE_KEY
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from common.wire.stream import CHANNEL_OPTIONS, StreamBroken
from sender.link.diagnosis import CredentialFiles, SecurityConfig, diagnose_clear, diagnose_encrypted

OPTIONS = (
    *CHANNEL_OPTIONS,
    # Channels of one process share gRPC's backoff by default; the delays between our attempts are our own.
    ("grpc.use_local_subchannel_pool", 1),
)

_CONNECTIONS = TcpConnections()

# gRPC's message when a stream ends during a write, before the reason has arrived.
_WRITING_FAILED = "Internal error from Core"


class GrpcClientStream:
    """One call of `SemanticLink.Stream` on a channel of its own.

    Args:
        channel: closed with the stream.
        port: of the peer.

    Raises:
        StreamBroken: in every method: the stream has ended.
    """

    lossy = False

    def __init__(self, channel: Any, call: Any, port: int) -> None:
        self._channel = channel
        self._call = call
        self._port = port
        self._writing = asyncio.Lock()

    async def connected(self) -> None:
        """Waits until the connection to the peer is established."""
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error

    async def own_certificate(self) -> bytes | None:
        """The certificate that the receiver has made for itself, DER, for QUIC; None if it tells none."""
        try:
            told = dict(await self._call.initial_metadata()).get(OWN_CERTIFICATE_KEY)
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error
        return told if isinstance(told, bytes) else None

    async def read(self) -> bytes | None:
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _broken(error) from error
        return None if data is grpc.aio.EOF else bytes(data)

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        async with self._writing:
            try:
                await self._call.write(data)
            except grpc.aio.AioRpcError as error:
                raise _broken(error) from error
            except asyncio.InvalidStateError as error:
                # The call ended earlier; its status is known by now.
                code, details = await self._call.code(), await self._call.details()
                raise StreamBroken(code.name, details or "the stream has ended") from error

    def connections(self) -> Sequence[TcpConnection]:
        """See `MessageStream.connections`; standby connections to the same port are among them."""
        return _CONNECTIONS.to_port(self._port)

    async def close(self) -> None:
        """Ends the call in any state and closes its connection."""
        self._call.cancel()
        await self._channel.close()


def _broken(error: Any) -> StreamBroken:
    code, details = error.code().name, error.details() or "no reason given"
    reason = details.splitlines()[0]
    if code == "INTERNAL" and reason == _WRITING_FAILED:
        code, reason = "CANCELLED", "the receiver ended the stream"
    if code == "UNAVAILABLE":
        # gRPC reports every step of resolving and connecting; the last part is the cause.
        reason = reason.rsplit(": ", 1)[-1].strip("[]")
    return StreamBroken(code, reason)


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


# Of the connection and its TLS handshake, on a thin link too, once the peer has answered a probe.
_CONNECT_TIMEOUT_S = 10.0
# Of an address that answers.
_DIAGNOSIS_TIMEOUT_S = 0.5
_NETWORK_DOWN = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT)


class Transport:
    """Opens streams to receivers; certificates and token are read again when they change.

    Attributes:
        files: certificates and token.
        names: of the receivers.

    Raises:
        UsageError: in every method: a certificate, key or token cannot be read.
    """

    def __init__(self, config: SecurityConfig | None = None) -> None:
        self.files = CredentialFiles(config or SecurityConfig())
        self.names = Names()

    def _open(self, peer: Address, at: Address) -> GrpcClientStream:
        """Starts to connect to a peer at an IP address; an unreachable one shows when reading or writing."""
        token = self.files.token(peer)
        channel = self._channel(peer, at)
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        # Without (de)serialisers messages stay bytes: `common.wire.convert` checks what arrives.
        call = channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=metadata)
        return GrpcClientStream(channel, call, peer.port)

    def _channel(self, peer: Address, at: Address) -> Any:
        credentials = self.files.credentials(peer)
        if credentials is None:
            return grpc.aio.insecure_channel(str(at), options=(*OPTIONS, ("grpc.default_authority", str(peer))))
        trusted = grpc.ssl_channel_credentials(credentials.authority, credentials.key, credentials.certificate)
        name = credentials.name or (peer.host if at != peer else None)
        named = (("grpc.ssl_target_name_override", name),) if name else ()
        return grpc.aio.secure_channel(str(at), trusted, options=(*OPTIONS, *named))

    async def reach(self, peer: Address) -> GrpcClientStream:
        """Opens a stream over an established connection, as soon as the peer's network is reachable.

        A connection whose SYN was lost retransmits it late and starts with a small window. So none is opened before
        the peer has answered a reachability probe.

        Raises:
            StreamBroken: the peer's machine refuses the connection, or its name is not known.
        """
        while True:
            at = await self.names.reachable(peer)
            stream = self._open(peer, at)
            if await _connects(stream):
                return stream

    async def diagnose(self, peer: Address) -> str | None:
        """Finds out why there is no stream to a peer that accepts connections.

        Returns:
            What is wrong and what to do; None if the peer accepts no TCP connection, or nothing is wrong.
        """
        credentials = self.files.credentials(peer)
        try:
            async with asyncio.timeout(_DIAGNOSIS_TIMEOUT_S):
                at = await self.names.reachable(peer)
        except (StreamBroken, TimeoutError):
            return None
        return await (diagnose_clear(peer, at) if credentials is None else diagnose_encrypted(peer, at, credentials))


async def _connects(stream: GrpcClientStream) -> bool:
    """Waits for the connection under a stream; closes the stream if the network is down or the time is over.

    Raises:
        StreamBroken: the peer's machine refuses the connection.
    """
    connected = False
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await stream.connected()
        connected = True
    except TimeoutError:
        pass
    except StreamBroken as error:
        if not any(os.strerror(number) in error.reason for number in _NETWORK_DOWN):
            raise
    finally:
        if not connected:
            await stream.close()
    return connected
