"""The receiver's end of the link: a gRPC server with handshakes, health service and graceful shutdown."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health_pb2

from common.clock import SYSTEM_CLOCK, Clock
from common.connections import TcpConnection, TcpConnections, superfluous
from common.errors import OutputError
from common.io.addresses import Address
from common.io.logs import RepeatedLines
from common.wire.certificates import OWN_CERTIFICATE_KEY, CertificateFiles, Certificates
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from common.wire.stream import CHANNEL_OPTIONS, StreamBroken, peer_name
from receiver.config import ListenConfig, SecurityConfig, most_connections_of
from receiver.link.auth.authenticator import Authenticator, host_of
from receiver.link.auth.tokens import TokenFile
from receiver.link.connection import Connection
from receiver.link.handshake import Handshake
from receiver.link.lifecycle import SessionLifecycle
from receiver.link.refusals import OwnSender, OwnSenders, Refusal
from receiver.link.service import StreamService
from receiver.link.session import FrameHandler, RateLimits, Session, SessionLimits
from receiver.ports import LinkPorts

# What the receiver sends in this time fits the buffers between the ends, unless the sender does not read at all.
_WRITE_TIMEOUT_S = 10.0
_CONNECTIONS = TcpConnections()
_COUNT_INTERVAL_S = 1.0
# Of the connections that a port takes: above the first share, idle ones end down to the second.
_CROWDED_SHARE, _CLEARED_SHARE = 0.75, 0.5


class GrpcServerStream:
    """One call of `SemanticLink.Stream`; a sender that does not read loses it."""

    lossy = False

    def __init__(self, context: Any) -> None:
        self._context = context
        self._writing = asyncio.Lock()

    async def read(self) -> bytes | None:
        """See `MessageStream.read`."""
        try:
            data = await self._context.read()
        except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            raise StreamBroken("CANCELLED", "the stream has ended") from error
        return None if data is grpc.aio.EOF else bytes(data)

    def connections(self) -> Sequence[TcpConnection]:
        """See `MessageStream.connections`."""
        host, port = _remote(self._context.peer())
        return _CONNECTIONS.from_host(host, port)

    async def write(self, data: bytes, *, droppable: bool = False) -> None:
        """See `MessageStream.write`."""
        async with self._writing:
            try:
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    await self._context.write(data)
            except TimeoutError as error:
                raise StreamBroken("DEADLINE_EXCEEDED", "the sender does not read") from error
            except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
                raise StreamBroken("CANCELLED", "the stream has ended") from error


class ConnectionLimit:
    """Keeps room for new connections to a port: of too many, idle ones end, the oldest of the busiest host first.

    gRPC itself ends a connection without a stream after half a minute, but not one that asks for the health again and
    again, and takes everybody's connections alike.

    Args:
        most: connections that the port takes.
        peers: of the streams that are served, as gRPC writes them.
    """

    def __init__(self, port: int, most: int, peers: Callable[[], Iterable[str]]) -> None:
        self._port, self._most, self._peers = port, most, peers
        self._seen: dict[int, TcpConnection] = {}

    async def watch(self) -> None:
        """Counts them each second, until cancelled."""
        while True:
            await asyncio.sleep(_COUNT_INTERVAL_S)
            for connection in self.superfluous(_CONNECTIONS.at_port(self._port)):
                connection.shut_down()

    def superfluous(self, connections: Iterable[TcpConnection]) -> Iterator[TcpConnection]:
        """Those of the present connections for which there is no room."""
        present = {connection.number: connection for connection in connections}
        # In the order in which they were seen first.
        self._seen = {number: present[number] for number in (*self._seen, *present) if number in present}
        if len(present) <= _CROWDED_SHARE * self._most:
            return
        served = {_remote(peer) for peer in self._peers()}
        idle = ((each, host_of(peer_name(*each.remote))) for each in self._seen.values() if each.remote not in served)
        yield from superfluous(idle, len(present) - int(_CLEARED_SHARE * self._most))


def _remote(peer: str) -> tuple[str, int]:
    """Address and port of a gRPC peer; port 0 of one without."""
    host, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.strip("[]").removeprefix("::ffff:"), int(port) if port.isdigit() else 0


logger = logging.getLogger(__name__)

# A connection that says nothing, or has no stream, ends after these times: each holds a descriptor.
_HANDSHAKE_TIMEOUT_MS, _IDLE_TIMEOUT_MS = 10_000, 30_000
# A sender has one stream on a connection; monitoring may have a few.
_STREAMS_PER_CONNECTION = 8
# When the receiver stops, for the status of the streams to be sent.
_LAST_WORDS_S = 0.5
_OWN_LISTEN = Address("127.0.0.1", 0)


class LinkServer:
    """Accepts the streams of senders and passes their frames to `handler`.

    Args:
        model_hash, codec_version: senders must have the same.
        admit_live: raises StreamRefused if there is no computing time for another live session.
        most_connections: over TCP.
        ports: those of `config`, which it takes over; by default it takes them at the start.
        public: whether others than the receiver's own processes may connect.

    Raises:
        UsageError: other machines can reach the address unencrypted, or a file cannot be read.
    """

    def __init__(
        self,
        config: ListenConfig,
        handler: FrameHandler,
        *,
        model_hash: bytes,
        codec_version: int,
        security: SecurityConfig | None = None,
        on_refused: Callable[[Refusal], None] = lambda _: None,
        admit_live: Callable[[], None] = lambda: None,
        most_connections: int = sys.maxsize,
        ports: LinkPorts | None = None,
        public: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._config, self._ports, self._public = config, ports, public
        self._own = OwnSenders()
        self._own_address: Address | None = None
        self._security = security = security or SecurityConfig()
        security.check(config.listen)
        self._most_tcp = min(most_connections_of(security.max_sessions), most_connections)
        self._credentials = server_credentials(security)
        self._lifecycle = SessionLifecycle(
            handler, SessionLimits(security.max_sessions, security.peer_sessions), clock, admit_live
        )
        self._service = StreamService(
            Handshake(model_hash=model_hash, codec_version=codec_version),
            self._lifecycle,
            Authenticator(
                TokenFile(security.tokens, clock) if security.tokens else None,
                self._own,
                encrypted=security.tls_cert is not None,
                public=public,
            ),
            on_refused,
            partial(Connection, handler=handler, lines=RepeatedLines(logger, clock), clock=clock),
            RateLimits(security.peer_bytes_per_second, security.peer_messages_per_second, clock),
            clock,
        )
        self._server: Any = None
        self._greeting: tuple[tuple[str, bytes], ...] = ()
        self._quic: Any = self._quic_listener(clock) if config.quic and public else None
        self._expiry: asyncio.Task[None] | None = None
        self._limit: asyncio.Task[None] | None = None

    @property
    def sessions(self) -> list[Session]:
        """All sessions, in the order in which they began."""
        return self._lifecycle.sessions

    async def start(self) -> Address:
        """Starts to listen; returns the address with the chosen port. Raises OutputError if the port cannot be used."""
        self._server = grpc.aio.server(options=_options(self._most_tcp))
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(STREAM_SERVICE, {STREAM_METHOD: handler}), self._health_service())
        )
        port = await self._open()
        await self._server.start()
        if self._quic is not None:
            # Not before gRPC: a sender that is told to trust another certificate now is told it there.
            await self._quic.start()
        self._expiry = asyncio.create_task(self._lifecycle.expire(), name="link session expiry")
        limit = ConnectionLimit(port, self._most_tcp, self._service.peers)
        self._limit = asyncio.create_task(limit.watch(), name="link connection limit")
        return Address(self._config.listen.host if self._public else _OWN_LISTEN.host, port)

    async def _open(self) -> int:
        """Opens the ports of this machine and of others; returns the number of the latter, the same for TCP and UDP."""
        self._own_address = replace(_OWN_LISTEN, port=self._server.add_insecure_port(str(_OWN_LISTEN)))
        if not self._public:
            return self._own_address.port
        with closing(self._ports or LinkPorts(self._config)) as ports:
            if self._quic is not None:
                self._quic.take(ports.take_udp())
        try:
            if self._credentials is None:
                return int(self._server.add_insecure_port(str(ports.address)))
            return int(self._server.add_secure_port(str(ports.address), self._credentials))
        except RuntimeError as error:
            if self._quic is not None:
                await self._quic.stop()
            raise OutputError(f"cannot listen on {ports.address}: give --listen a free host:port") from error

    def admit(self, sender: OwnSender) -> tuple[Address, str]:
        """Lets a process of the receiver connect; returns where, and the token that it has to present."""
        assert self._own_address is not None, "the server has started"
        return self._own_address, self._own.admit(sender)

    async def end_sessions(self, sender: OwnSender) -> None:
        """Ends the sessions of a process of the receiver that has ended."""
        await self._lifecycle.end_own(sender)

    async def dismiss(self, sender: OwnSender) -> None:
        """Ends the sessions of a process of the receiver, which cannot connect any more."""
        self._own.dismiss(sender)
        await self._lifecycle.end_own(sender)

    async def stop(self) -> None:
        """Refuses new senders, acknowledges the frames that have arrived, ends all sessions, frees the port."""
        for task in (self._expiry, self._limit):
            if task is not None:
                task.cancel()
        if self._quic is not None:
            self._quic.refuse()
        if self._server is not None:
            # No further stream begins from here on; the streams of other services do not delay the end.
            stopping = asyncio.create_task(self._server.stop(self._config.drain_timeout + _LAST_WORDS_S))
            await self._service.stop(self._config.drain_timeout)
            if self._quic is not None:
                await self._quic.stop()
            await self._server.stop(_LAST_WORDS_S)
            await stopping
        await self._lifecycle.close()

    def _quic_listener(self, clock: Clock) -> Any:
        """Serves the same streams over QUIC; without a certificate, with one of its own, which is told over gRPC."""
        from receiver.link.auth.own_certificate import OwnCertificate
        from receiver.link.quic_server import CertificateSource, QuicListener  # aioquic takes a while to import

        security = self._security
        files: CertificateSource = CertificateFiles(security.tls_cert, security.tls_key, security.tls_ca)
        if security.tls_cert is None:
            files = own = OwnCertificate()
            self._greeting = ((OWN_CERTIFICATE_KEY, own.der),)
        return QuicListener(files, self._service.serve, most_connections_of(security.max_sessions), clock)

    @staticmethod
    def _health_service() -> grpc.GenericRpcHandler:
        """gRPC's health service without its streams (`Watch`), which would last as long as their clients like.

        While the receiver stops, it begins no further call, this one included.
        """

        async def check(request: Any, context: Any) -> Any:
            if request.service not in ("", STREAM_SERVICE):
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

        handler = grpc.unary_unary_rpc_method_handler(
            check, health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})

    async def _serve(self, _: Any, context: Any) -> None:
        with contextlib.suppress(grpc.aio.BaseError, asyncio.InvalidStateError):  # the stream has ended: it says so
            await context.send_initial_metadata(self._greeting)
        await self._service.serve(GrpcServerStream(context), context)


def _options(most_connections: int) -> tuple[tuple[str, int], ...]:
    """Settings of gRPC that bound what strangers can hold."""
    return (
        *CHANNEL_OPTIONS,
        # Two receivers on one port would share its connections at random; the second is to fail instead.
        ("grpc.so_reuseport", 0),
        # Allows the pings of `CHANNEL_OPTIONS`, which are sent on an idle connection too.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
        ("grpc.max_connection_idle_ms", _IDLE_TIMEOUT_MS),
        ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
        ("grpc.max_allowed_incoming_connections", most_connections),
    )


def server_credentials(config: SecurityConfig) -> grpc.ServerCredentials | None:
    """TLS credentials of the port, None for no encryption; changed files apply from the next connection on.

    Raises:
        UsageError: a file cannot be read, is damaged, has expired, or certificate and key do not match.
    """
    if config.tls_cert is None:
        return None
    files = _ServedFiles(CertificateFiles(config.tls_cert, config.tls_key, config.tls_ca))
    return grpc.dynamic_ssl_server_credentials(
        files.read(), files.read_if_changed, require_client_authentication=config.tls_ca is not None
    )


class _ServedFiles:
    """The certificate files in the form that gRPC asks for."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._served: Certificates | None = None

    def read(self) -> Any:
        """The files' content, for the start of the server."""
        self._served = served = self._files.current()
        return grpc.ssl_server_certificate_configuration(
            [(served.key, served.certificate)], root_certificates=served.authority
        )

    def read_if_changed(self) -> Any:
        """Called by gRPC for each connection; None keeps the present content."""
        return None if self._files.current() is self._served else self.read()
