"""The receiver's end of the link: a gRPC server with handshakes, health service and graceful shutdown."""

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import BodywireError, OutputError
from common.io.addresses import Address
from common.io.configuration import option
from common.wire.convert import MAX_WINDOW, STREAM_METHOD, STREAM_SERVICE, Drain, Hello, encode_server
from common.wire.stream import CHANNEL_OPTIONS, StreamBroken
from receiver.link.auth.authenticator import Authenticator, PeerIdentity
from receiver.link.auth.limits import RateLimiter
from receiver.link.auth.tls import SecurityConfig, server_credentials
from receiver.link.auth.tokens import TokenFile, TokenRefused
from receiver.link.connection import Connection
from receiver.link.grpc_stream import GrpcServerStream
from receiver.link.handshake import Handshake, receive_hello
from receiver.link.session import FrameHandler, Session, SessionRegistry

logger = logging.getLogger(__name__)

_OPTIONS = (
    *CHANNEL_OPTIONS,
    # Two receivers on one port would share its connections at random; the second is to fail instead.
    ("grpc.so_reuseport", 0),
    # Allows the pings of `CHANNEL_OPTIONS`, which are sent on an idle connection too.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_TOKEN_RECHECK_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where senders connect, and what the receiver tolerates."""

    listen: Address = option(
        Address("127.0.0.1", 50051),
        help="address to listen on; a missing host or port is the default's, port 0 picks a free one",
        bare=True,
    )
    window: int = option(8, help="most unacknowledged frames of a sender")
    rejections: int = option(8, help="number of undecodable frames in a row that ends a stream")
    silence_timeout: float = option(
        1.25,
        help="seconds without a message until a sender is considered gone; its stream ends after ten times as many",
    )
    drain_timeout: float = option(10.0, help="seconds to finish the frames that have arrived when the receiver stops")

    def __post_init__(self) -> None:
        if not 1 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window {self.window} is not between 1 and {MAX_WINDOW}")
        if self.rejections < 1:
            raise ValueError(f"rejections {self.rejections} is below 1")
        if min(self.silence_timeout, self.drain_timeout) <= 0:
            raise ValueError("silence_timeout and drain_timeout must be above 0")


class LinkServer:
    """Accepts the streams of senders and passes their frames to `handler`.

    Args:
        registry: the sessions; it may outlive the server.
        model_hash, codec_version: senders must have the same.
        security: which senders are admitted.

    Raises:
        UsageError: other machines can reach the address unencrypted, or a file cannot be read.
    """

    def __init__(
        self,
        config: ListenConfig,
        handler: FrameHandler,
        registry: SessionRegistry,
        *,
        model_hash: bytes,
        codec_version: int,
        security: SecurityConfig | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._security = security or SecurityConfig()
        self._security.check(config.listen)
        self._credentials = server_credentials(self._security)
        self._authenticator = Authenticator(TokenFile(self._security.tokens, clock) if self._security.tokens else None)
        self._config = config
        self._handler = handler
        self._registry = registry
        self._handshake = Handshake(
            registry,
            handler,
            model_hash=model_hash,
            codec_version=codec_version,
            window=config.window,
            peer_sessions=self._security.peer_sessions,
            clock=clock,
        )
        self._clock = clock
        self._health = health.aio.HealthServicer()
        self._server: Any = None
        self._connections: set[Connection] = set()
        self._stopping = False

    async def start(self) -> Address:
        """Starts to listen; returns the address, with the port that was chosen.

        Raises:
            OutputError: the port is in use or may not be used.
        """
        listen = self._config.listen
        _try_to_bind(listen)
        self._server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(STREAM_SERVICE, {STREAM_METHOD: handler}),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._security.reflects(listen):
            services = (STREAM_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(services, self._server)
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(str(listen))
            else:
                port = self._server.add_secure_port(str(listen), self._credentials)
        except RuntimeError as error:
            raise OutputError(f"cannot listen on {listen}: give --listen a free host:port") from error
        await self._server.start()
        for service in ("", STREAM_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return Address(listen.host, port)

    async def stop(self) -> None:
        """Refuses new senders, acknowledges the frames that have arrived, ends all sessions, frees the port."""
        self._stopping = True
        await self._health.enter_graceful_shutdown()
        for connection in self._connections:
            connection.drain()
        if self._server is not None:
            await self._server.stop(self._config.drain_timeout)
        for session in self._registry.take_all():
            await self._handler.on_session_end(session)

    async def _serve(self, _: Any, context: Any) -> None:
        try:
            stream = GrpcServerStream(context, RateLimiter(self._security.peer_bytes_per_second, self._clock))
            # A sender that is refused while it still writes its Hello may not receive the reason.
            hello = await receive_hello(stream)
            if self._stopping:
                raise StreamBroken("UNAVAILABLE", "the receiver is stopping")
            await self._serve_stream(stream, hello, self._authenticator.authenticate(context))
        except TokenRefused as refusal:
            logger.warning("refused %s: %s", context.peer(), refusal)
            await _abort(context, "UNAUTHENTICATED", str(refusal))
        except StreamBroken as broken:
            logger.info("stream ended: %s", broken)
            await _abort(context, broken.code, broken.reason)
        except BodywireError as error:
            logger.error("stream ended: %s", error)
            await _abort(context, "INTERNAL", str(error))

    async def _serve_stream(self, stream: GrpcServerStream, hello: Hello, identity: PeerIdentity) -> None:
        refusal = self._handshake.refusal(hello)
        if refusal is not None:
            logger.warning("refused %s: %s", hello.sender, refusal.reason)
            await stream.write(encode_server(refusal))
            return
        session, resumed = await self._handshake.session_for(hello, identity)
        connection = Connection(
            session,
            stream,
            self._handler,
            window=self._config.window,
            rejections=self._config.rejections,
            silence_s=self._config.silence_timeout,
            clock=self._clock,
        )
        await session.claim(connection.abandon)
        self._connections.add(connection)
        watch = asyncio.create_task(self._until_revoked(identity, connection), name="link token check")
        try:
            drained = await connection.run(self._handshake.welcome(session, resumed))
        except StreamBroken:
            if watch.done() and not watch.cancelled():
                raise TokenRefused(watch.result()) from None
            raise
        finally:
            watch.cancel()
            self._connections.discard(connection)
        if drained:
            await self._end(session)
            await stream.write(encode_server(Drain()))

    async def _until_revoked(self, identity: PeerIdentity, connection: Connection) -> str:
        """Waits until a sender's token is no longer valid, ends its stream, and returns the reason."""
        while True:
            await asyncio.sleep(_TOKEN_RECHECK_INTERVAL_S)
            try:
                self._authenticator.check(identity)
            except TokenRefused as refusal:
                connection.abandon()
                return str(refusal)

    async def _end(self, session: Session) -> None:
        if self._registry.remove(session):
            await self._handler.on_session_end(session)


def _try_to_bind(listen: Address) -> None:
    """Finds out why a port cannot be opened: gRPC itself gives no reason, and writes a long message to stderr."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        raise OutputError(f"cannot listen on {listen} ({error.strerror}): give --listen a free host:port") from error


async def _abort(context: Any, code: str, reason: str) -> None:
    # grpc.aio raises AbortError to leave the handler, which is at its end here.
    with contextlib.suppress(grpc.aio.BaseError, asyncio.InvalidStateError):
        await context.abort(grpc.StatusCode[code], reason)
