"""Takes QUIC connections, of addresses that are proven (RFC 9000, section 8.1).

While few handshakes begin, an address proves itself by ending its own, and gets no more than three times its bytes
before.  Who forges addresses ends none: then each has to prove itself before anything is kept, with a token that only
a sender at that address gets, which takes another round trip, of 4 s at 2.4 kbit/s.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from socket import socket
from typing import Any, Protocol

import grpc
from aioquic import tls
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import TOKEN_LIFETIME, QuicRetryTokenHandler
from cryptography.x509.oid import NameOID

from common.clock import Clock
from common.connections import BeginRate, has_room, share_of_host
from common.io.logs import RepeatedLines
from common.wire.certificates import Certificates
from common.wire.quic import QuicConnectionOfMessages, QuicStream
from common.wire.quic_connection import (
    CONNECTION_ID_BYTES,
    FIRST_ID_BYTES,
    MAX_PACKET_BYTES,
    Buffer,
    LinkConnection,
    configuration,
)
from common.wire.stream import StreamBroken, peer_name
from receiver.link.auth.authenticator import host_of
from receiver.link.handshake import PendingHandshakes

# Handshakes that may begin within this time without proof; a handshake ends or is over by then.
_MOST_UNPROVEN, _UNPROVEN_S = 16, 10.0
# Of the identifier that comes with a token, random bytes and milliseconds.
_RANDOM_BYTES, _TIME_BYTES, _TIMES_MS = 4, 4, 1 << 32
# Longer ones are no round trips. Where none is known, the sender, which knows its link, asks for what was lost.
_MAX_ROUND_TRIP_S = 10.0


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """A packet that may begin a connection.

    Args:
        identifier: to which it is addressed.
        original: to which the sender's first packet was addressed.
        retry: the identifier that came with the token; None if none was asked for.
        round_trip_s: what nothing is sent again before, about.
    """

    identifier: bytes
    original: bytes
    retry: bytes | None
    round_trip_s: float


class AddressValidation:
    """Of one receiver; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._tokens = QuicRetryTokenHandler()
        # By the identifier of the first packet: when connections began, and those of them without proof.
        self._begun_s, self._unproven_s = dict[bytes, float](), dict[bytes, float]()

    def asks(self, now_s: float) -> bool:
        """Whether a sender has to bring a token."""
        _drop_older(self._unproven_s, now_s - _UNPROVEN_S)
        return len(self._unproven_s) >= _MOST_UNPROVEN

    def retry(self, header: QuicHeader, addr: Any, now_s: float) -> bytes:
        """The packet with a token, shorter than the one that it answers."""
        assert header.version is not None
        identifier = os.urandom(_RANDOM_BYTES) + _milliseconds(now_s).to_bytes(_TIME_BYTES)
        original = header.destination_cid
        token = self._tokens.create_token(
            address=addr,
            original_destination_connection_id=original,
            retry_source_connection_id=identifier,
            now=now_s,
        )
        return encode_quic_retry(
            version=header.version,
            source_cid=identifier,
            destination_cid=header.source_cid,
            original_destination_cid=original,
            retry_token=token,
        )

    def check(self, header: QuicHeader, addr: Any, now_s: float) -> FirstPacket:
        """Checks a first packet.

        Raises:
            ValueError: it has begun a connection, its token is old or of another address, or it has a short identifier.
        """
        identifier = header.destination_cid
        packet = FirstPacket(identifier, identifier, None, _MAX_ROUND_TRIP_S)
        if header.token:
            token = {"address": addr, "destination_cid": identifier, "token": header.token, "now": now_s}
            asked_ms = int.from_bytes(identifier[_RANDOM_BYTES:])
            round_trip_s = ((_milliseconds(now_s) - asked_ms) % _TIMES_MS) / 1e3
            original = self._tokens.validate_token(**token)
            packet = FirstPacket(identifier, original, identifier, min(round_trip_s, _MAX_ROUND_TRIP_S))
        _drop_older(self._begun_s, now_s - TOKEN_LIFETIME)
        if len(identifier) < FIRST_ID_BYTES:
            raise ValueError("its identifier is too short")
        if identifier in self._begun_s:
            raise ValueError("it has begun a connection")
        return packet

    def begun(self, packet: FirstPacket, now_s: float) -> None:
        """Records that it begins a connection: it will begin no other."""
        self._begun_s[packet.identifier] = now_s
        if packet.retry is None:
            self._unproven_s[packet.identifier] = now_s

    def proved(self, identifier: bytes) -> None:
        """Records that the handshake of a connection is over."""
        self._unproven_s.pop(identifier, None)


def _milliseconds(now_s: float) -> int:
    """The last bits of a time."""
    return round(now_s * 1e3) % _TIMES_MS


def _drop_older(times_s: dict[bytes, float], limit_s: float) -> None:
    """Removes the times before a limit; they are in order."""
    while times_s and next(iter(times_s.values())) < limit_s:
        del times_s[next(iter(times_s))]


logger = logging.getLogger(__name__)

_HANDSHAKE_TIMEOUT_S = 10.0
# Of the identifier of a connection, if it is taken.
_ID_ATTEMPTS = 8
# Of one address, with as many at once: a handshake takes milliseconds of the processor.
_HANDSHAKES_PER_S = 20
# For the status of a stream to arrive, sent again if need be.
_LAST_WORDS_S = 2.0

Serve = Callable[[QuicStream, "QuicContext"], Coroutine[Any, Any, None]]
"""Serves one stream to its end (`receiver.link.service.StreamService.serve`)."""


class CertificateSource(Protocol):
    """The certificates of new connections (`CertificateFiles`, `OwnCertificate`)."""

    def current(self) -> Certificates:
        """The same object until they change."""


class QuicContext:
    """The `CallContext` of a connection."""

    def __init__(self, connection: QuicConnectionOfMessages, peer: str) -> None:
        self._connection, self._peer = connection, peer
        self.end: StreamBroken | None = None

    def peer(self) -> str:
        """The sender's address, as gRPC writes it."""
        return self._peer

    def auth_context(self) -> dict[str, list[bytes]]:
        """That it is encrypted, as QUIC always is, and the name in the sender's certificate, if it has one."""
        certificate = self._connection.certificate
        names = [] if certificate is None else certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        encoded = [str(name.value).encode() for name in names]
        return {"transport_security_type": [b"ssl"], "x509_common_name": encoded}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The sender's token."""
        token = self._connection.token
        return (("authorization", f"Bearer {token}"),) if token else ()

    async def abort(self, code: grpc.StatusCode, reason: str) -> None:
        """Ends the stream with a status."""
        self.end = StreamBroken(code.name, reason)


class _NoRoom(Exception):
    """There are too many connections."""


class _Socket(asyncio.DatagramProtocol):
    """The UDP port: each connection has the newest certificates.

    Where many handshakes begin, addresses are validated first (RFC 9000, section 8.1).

    Connections have short identifiers, which several may share: a packet from a known address is for the connection of
    that address, and one from another address for the connection that can decrypt it, whose sender has moved.

    Args:
        admit: called with the host that a connection would be from, before anything is made for it; raises _NoRoom.
        begin: called with each new connection and its host.

    Attributes:
        takes_new: whether connections may begin; otherwise nothing is answered, as a token of this receiver would be of
            no use at the next.
    """

    def __init__(
        self,
        files: CertificateSource,
        admit: Callable[[str], None],
        begin: Callable[[QuicConnectionOfMessages, str], None],
    ) -> None:
        self._files, self._admit, self._begin = files, admit, begin
        self._served: Certificates | None = None
        self._addresses = AddressValidation()
        self._connections: dict[bytes, list[_Accepted]] = {}
        self._transport: Any = None
        self.takes_new = True
        self._settings()

    def close(self) -> None:
        """Ends the connections and closes the port."""
        for connection in {each for found in self._connections.values() for each in found}:
            connection.close()
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Handles a packet; one that aioquic does not understand in an unforeseen way is dropped."""
        try:
            assert isinstance(data, bytes)
            header = pull_quic_header(Buffer(data=data), host_cid_length=CONNECTION_ID_BYTES)
            if header.version is None:
                self._pass_on(data, header, addr)
            else:
                self._shake_hands(data, header, addr)
        except _NoRoom:
            logger.debug("no room for another QUIC connection, from %s", addr)
        except Exception as error:
            logger.debug("dropped a QUIC packet of %s: %r", addr, error)

    def _pass_on(self, data: bytes, header: QuicHeader, addr: Any) -> None:
        found = self._connections.get(header.destination_cid, ())
        known = next((connection for connection in found if connection.is_at(addr)), None)
        if known is not None:
            known.datagram_received(data, addr)
            return
        for connection in tuple(found):
            connection.datagram_received(data, addr)
            if connection.is_at(addr):
                return

    def _shake_hands(self, data: bytes, header: QuicHeader, addr: Any) -> None:
        for connection in self._connections.get(header.destination_cid, ()):
            if connection.is_at(addr):
                connection.datagram_received(data, addr)
                return
        if not SMALLEST_MAX_DATAGRAM_SIZE <= len(data) <= MAX_PACKET_BYTES or not self.takes_new:
            # The answer to a shorter one might be longer.
            return
        versions = self._settings_served.supported_versions
        if header.version not in versions and header.packet_type is not QuicPacketType.VERSION_NEGOTIATION:
            ids = {"source_cid": header.destination_cid, "destination_cid": header.source_cid}
            self._transport.sendto(encode_quic_version_negotiation(supported_versions=versions, **ids), addr)
        elif header.packet_type is QuicPacketType.INITIAL:
            now_s = asyncio.get_running_loop().time()
            if header.token or not self._addresses.asks(now_s):
                self._accept(data, self._addresses.check(header, addr, now_s), addr)
            else:
                self._transport.sendto(self._addresses.retry(header, addr, now_s), addr)

    def _accept(self, data: bytes, first: FirstPacket, addr: Any) -> None:
        """Begins a connection. Raises _NoRoom if none may begin."""
        host = host_of(peer_name(*addr[:2]))
        self._admit(host)
        self._addresses.begun(first, asyncio.get_running_loop().time())
        for _ in range(_ID_ATTEMPTS):
            connection = LinkConnection(
                configuration=self._settings(),
                original_destination_connection_id=first.original,
                retry_source_connection_id=first.retry,
                asks_for_certificate=self._files.current().authority is not None,
                round_trip_s=first.round_trip_s,
            )
            if connection.host_cid not in self._connections:
                break
        accepted = _Accepted(connection, self._proved, self._forget, (first.identifier, connection.host_cid))
        self._begin(accepted, host)
        for identifier in accepted.identifiers:
            self._connections.setdefault(identifier, []).append(accepted)
        accepted.connection_made(self._transport)
        accepted.datagram_received(data, addr)

    def _proved(self, connection: "_Accepted") -> None:
        self._addresses.proved(connection.identifiers[0])

    def _forget(self, ended: "_Accepted") -> None:
        for identifier in ended.identifiers:
            left = [each for each in self._connections.pop(identifier, ()) if each is not ended]
            if left:
                self._connections[identifier] = left

    def _settings(self) -> QuicConfiguration:
        files = self._files.current()
        if files is not self._served:
            assert files.certificate is not None
            assert files.key is not None
            settings = configuration(is_sender=False)
            chain = tls.load_pem_x509_certificates(files.certificate)
            settings.certificate, settings.certificate_chain = chain[0], chain[1:]
            settings.private_key = tls.load_pem_private_key(files.key)
            self._served, self._settings_served = files, settings
        return self._settings_served


class _Accepted(QuicConnectionOfMessages):
    """A sender's connection.

    Args:
        on_proof: called when its handshake is over, which proves the sender's address.
        on_end: called when it has ended.
        identifiers: what its packets are addressed to; the first packet to the first one.
    """

    def __init__(
        self,
        connection: LinkConnection,
        on_proof: Callable[["_Accepted"], None],
        on_end: Callable[["_Accepted"], None],
        identifiers: tuple[bytes, bytes],
    ) -> None:
        super().__init__(connection)
        self._on_proof, self._on_end, self.identifiers = on_proof, on_end, identifiers

    def is_at(self, addr: Any) -> bool:
        """Whether its sender has this address."""
        return bool(self._link.get_peer_address() == addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        super().quic_event_received(event)
        if isinstance(event, HandshakeCompleted):
            self._on_proof(self)
        elif isinstance(event, ConnectionTerminated):
            self._on_end(self)


class QuicListener:
    """Serves senders over QUIC.

    Args:
        files: certificate and key of the receiver; with an authority, senders need certificates of it.
        most: connections at a time, half of them of one address.
    """

    def __init__(self, files: CertificateSource, serve: Serve, most: int, clock: Clock) -> None:
        self._files, self._serve, self._most = files, serve, most
        self._hosts: dict[asyncio.Task[None], str] = {}
        self._rate = BeginRate(_HANDSHAKES_PER_S, _HANDSHAKES_PER_S, clock)
        self._pending = PendingHandshakes(timeout_s=_HANDSHAKE_TIMEOUT_S)
        self._lines = RepeatedLines(logger, clock)
        self._bound: socket | None = None
        self._socket: _Socket | None = None

    def take(self, bound: socket) -> None:
        """Takes over the port, on which packets wait until the start."""
        self._bound = bound

    async def start(self) -> None:
        """Takes what arrives."""
        loop = asyncio.get_running_loop()
        _, self._socket = await loop.create_datagram_endpoint(
            lambda: _Socket(self._files, self._admit, self._begin), sock=self._bound
        )

    def refuse(self) -> None:
        """Takes no new connections any more."""
        if self._socket is not None:
            self._socket.takes_new = False

    async def stop(self) -> None:
        """Closes the port; the streams have ended before."""
        if self._hosts:
            await asyncio.wait(list(self._hosts), timeout=_LAST_WORDS_S)
        for task in self._hosts:
            task.cancel()
        if self._socket is not None:
            self._socket.close()
        elif self._bound is not None:
            self._bound.close()

    def _admit(self, host: str) -> None:
        """Raises _NoRoom if there are too many connections, or too many begin from one address."""
        if not has_room(self._hosts.values(), host, self._most, share_of_host(self._most)):
            raise _NoRoom
        if not self._rate.take(host):
            raise _NoRoom

    def _begin(self, connection: QuicConnectionOfMessages, host: str) -> None:
        """Serves a connection."""
        task = asyncio.get_running_loop().create_task(self._run(connection, host), name="link QUIC connection")
        self._hosts[task] = host
        task.add_done_callback(self._hosts.pop)

    async def _run(self, connection: QuicConnectionOfMessages, host: str) -> None:
        try:
            async with self._pending.waiting(host):
                await connection.handshaken()
            await self._serve_stream(connection)
            # The status has to arrive, and is sent again if need be.
            async with asyncio.timeout(_LAST_WORDS_S):
                await connection.wait_closed()
        except (StreamBroken, TimeoutError) as error:
            logger.debug("a QUIC connection ended: %s", error)
        except Exception as error:
            text = f"a QUIC connection of {host} failed: {type(error).__name__}: {error}"
            self._lines.write(logging.ERROR, (type(error), host), text)
        finally:
            connection.fail(StreamBroken("CANCELLED", "the stream has ended"))

    async def _serve_stream(self, connection: QuicConnectionOfMessages) -> None:
        host, port = connection.peer
        context = QuicContext(connection, peer_name(host, port))
        authority = self._files.current().authority
        try:
            if authority is not None:
                connection.verify_certificate(authority)
        except StreamBroken as refused:
            # gRPC says as little of a sender without a certificate.
            logger.debug("refused %s: %s", context.peer(), refused.reason)
            connection.fail(refused)
            return
        await self._serve(QuicStream(connection), context)
        connection.finish(context.end)
