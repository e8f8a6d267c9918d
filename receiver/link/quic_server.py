"""QUIC beside gRPC: the streams of senders on the UDP port of the same number, with the same certificates."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from aioquic import tls
from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography.x509.oid import NameOID

from common.clock import Clock
from common.errors import OutputError
from common.io.addresses import Address
from common.io.logs import RepeatedLines
from common.wire.certificates import CertificateFiles, Certificates
from common.wire.quic import (
    QuicConnectionOfMessages,
    QuicStream,
    configuration,
    request_certificate,
)
from common.wire.stream import StreamBroken, peer_name
from receiver.link.admission import BeginRate
from receiver.link.auth.authenticator import host_of
from receiver.link.handshake import PendingHandshakes

logger = logging.getLogger(__name__)

_HANDSHAKE_TIMEOUT_S = 10.0
_LONG_HEADER = b"\x80"
# Of one address, with as many at once: a handshake takes milliseconds of the processor.
_HANDSHAKES_PER_S = 20
# For the status of a stream to arrive, sent again if need be.
_LAST_WORDS_S = 1.0

Serve = Callable[[QuicStream, "QuicContext"], Coroutine[Any, Any, None]]
"""Serves one stream to its end (`receiver.link.service.StreamService.serve`)."""


class QuicContext:
    """What the service asks of a call: as `grpc.aio.ServicerContext`."""

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


class _Socket(QuicServer):
    """The UDP port: each connection has the newest certificates; validates addresses first.

    Args:
        begin: called with each new connection and the host that it is from; raises _NoRoom to drop it.
    """

    def __init__(self, files: CertificateFiles, begin: Callable[[QuicConnectionOfMessages, str], None]) -> None:
        self._files, self._begin = files, begin
        self._served: Certificates | None = None
        self._host = ""
        super().__init__(configuration=self._settings(), create_protocol=self._accept, retry=True)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Handles a packet; one that aioquic does not understand in an unforeseen way is dropped."""
        try:
            if isinstance(data, bytes) and data[:1] >= _LONG_HEADER:
                self._configuration = self._settings()
                self._host = host_of(peer_name(*addr[:2]))
            super().datagram_received(data, addr)
        except _NoRoom:
            logger.debug("no room for another QUIC connection, from %s", addr)
        except Exception as error:
            logger.debug("dropped a QUIC packet of %s: %r", addr, error)

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

    def _accept(self, connection: QuicConnection, stream_handler: object = None) -> QuicConnectionOfMessages:
        if self._files.current().authority is not None:
            request_certificate(connection)
        accepted = QuicConnectionOfMessages(connection)
        self._begin(accepted, self._host)
        return accepted


class QuicListener:
    """Serves senders over QUIC.

    Args:
        files: certificate and key of the receiver; with an authority, senders need certificates of it.
        most: connections at a time, half of them of one address.
    """

    def __init__(self, files: CertificateFiles, serve: Serve, most: int, clock: Clock) -> None:
        self._files, self._serve, self._most = files, serve, most
        self._hosts: dict[asyncio.Task[None], str] = {}
        self._rate = BeginRate(_HANDSHAKES_PER_S, _HANDSHAKES_PER_S, clock)
        self._pending = PendingHandshakes(timeout_s=_HANDSHAKE_TIMEOUT_S)
        self._lines = RepeatedLines(logger, clock)
        self._socket: _Socket | None = None

    async def start(self, listen: Address) -> int:
        """Opens the port; returns its number. Raises OutputError if it cannot be used."""
        loop = asyncio.get_running_loop()
        try:
            transport, self._socket = await loop.create_datagram_endpoint(
                lambda: _Socket(self._files, self._begin), local_addr=(listen.host, listen.port)
            )
        except OSError as error:
            raise OutputError(
                f"cannot listen on UDP {listen} ({error.strerror}): give --listen another port"
            ) from error
        return int(transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        """Closes the port; the streams have ended before."""
        if self._hosts:
            await asyncio.wait(list(self._hosts), timeout=_LAST_WORDS_S)
        for task in self._hosts:
            task.cancel()
        if self._socket is not None:
            self._socket.close()

    def _begin(self, connection: QuicConnectionOfMessages, host: str) -> None:
        """Serves a connection. Raises _NoRoom if there are too many, or too many begin from one address."""
        if len(self._hosts) >= self._most or Counter(self._hosts.values())[host] >= max(self._most // 2, 1):
            raise _NoRoom
        if not self._rate.take(host):
            raise _NoRoom
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
