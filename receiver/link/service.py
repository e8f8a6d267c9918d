"""Serves the streams of senders: Hello, identity, session, frames, end."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable, Collection, Coroutine, Hashable
from pathlib import Path
from typing import Any

import grpc

from common.clock import Clock
from common.errors import BodywireError, OutputError
from common.io.logs import RepeatedLines
from common.wire.convert import Drain, Hello, encode_server
from common.wire.stream import MessageStream, StreamBroken
from common.wire.version_probe import is_probe
from receiver.link.auth.authenticator import Authenticator, CallContext, PeerIdentity, host_of
from receiver.link.auth.tokens import TokenRefused
from receiver.link.connection import Connection, end_level, stream_failure
from receiver.link.handshake import Handshake, PendingHandshakes, receive_hello
from receiver.link.lifecycle import SessionLifecycle
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import Claim, RateLimits, Session

logger = logging.getLogger(__name__)

_TOKEN_RECHECK_INTERVAL_S = 1.0
# When the receiver stops, a stream without frames in hand ends by itself, unless its sender does not read.
_LAST_WRITE_S = 0.5
_STOPPING = "the receiver is stopping"
_MAX_ERROR_CHARACTERS = 200


class StreamService:
    """Serves every stream from its first message to its status.

    Args:
        on_refused: called for each stream that is refused.
    """

    def __init__(
        self,
        handshake: Handshake,
        lifecycle: SessionLifecycle,
        authenticator: Authenticator,
        on_refused: Callable[[Refusal], None],
        new_connection: Callable[..., Connection],
        rate_limits: RateLimits,
        clock: Clock,
    ) -> None:
        self._handshake = handshake
        self._lifecycle = lifecycle
        self._authenticator = authenticator
        self._on_refused = on_refused
        self._new_connection, self._rate_limits = new_connection, rate_limits
        self._lines = RepeatedLines(logger, clock)
        self._pending = PendingHandshakes()
        self._connections: set[Connection] = set()
        self._streams: dict[asyncio.Task[Any], str] = {}
        self._stopping = False

    def peers(self) -> Collection[str]:
        """The addresses of the streams that are served, as gRPC writes them."""
        return self._streams.values()

    async def serve(self, stream: MessageStream, context: CallContext) -> None:
        """Serves one stream, and ends it with its gRPC status."""
        task = asyncio.current_task()
        assert task is not None
        self._streams[task] = context.peer()
        try:
            end = await self._end_of(self._serve(stream, context), context)
            if end is not None:
                await _abort(context, end)
        finally:
            del self._streams[task]

    async def stop(self, timeout_s: float) -> None:
        """Ends every stream: at once, or when the frames that have arrived are acknowledged, for at most this time."""
        self._stopping = True
        self._pending.end_all(StreamBroken("UNAVAILABLE", _STOPPING))
        for connection in self._connections:
            connection.drain()
        before = set[Connection]()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._streams:
                    await asyncio.wait(list(self._streams), timeout=_LAST_WRITE_S)
                    idle = {connection for connection in self._connections if not connection.busy}
                    for connection in idle & before:
                        connection.abandon(StreamBroken("UNAVAILABLE", _STOPPING))
                    before = idle

    async def _end_of(self, serving: Coroutine[Any, Any, None], context: CallContext) -> StreamBroken | None:
        """Serves a stream; returns how it is to end, None if in good order."""
        try:
            await serving
        except StreamRefused as refused:
            return refused
        except StreamBroken as broken:
            self._log(end_level(broken), context, broken.code, str(broken))
            return broken
        except OutputError as error:
            return stream_failure(error)
        except BodywireError as error:
            self._log(logging.ERROR, context, type(error).__name__, str(error))
            return StreamBroken("INTERNAL", str(error))
        except Exception as error:
            self._log(logging.ERROR, context, type(error).__name__, _described(error))
            logger.debug("the stream failed", exc_info=error)
            return StreamBroken("INTERNAL", f"the receiver failed ({type(error).__name__}); its log says where")
        return None

    async def _serve(self, stream: MessageStream, context: CallContext) -> None:
        host, who = host_of(context.peer()), context.peer()
        account = host
        try:
            # A sender that is refused while it still writes its Hello may not receive the reason.
            async with self._pending.waiting(host):
                hello = await receive_hello(stream)
            if hello is None:
                return
            if self._stopping:
                raise StreamBroken("UNAVAILABLE", _STOPPING)
            who = f"{who}, which calls itself {hello.sender!r}"
            identity = self._authenticator.authenticate(context)
            account = identity.account
            who = f"{who} ({identity.subject})" if identity.subject else who
            refusal = self._handshake.refusal(hello)
            if refusal is None:
                await self._serve_sender(stream, hello, identity)
                return
            if not is_probe(hello):
                self._report(Refusal.VERSION, account, who, refusal.reason)
            await stream.write(encode_server(refusal))
        except StreamRefused as refused:
            why = f"{refused.reason}; {refused.detail}" if refused.detail else refused.reason
            self._report(refused.refusal, account, who, why)
            raise

    async def _serve_sender(self, stream: MessageStream, hello: Hello, identity: PeerIdentity) -> None:
        connection, session, resumed = await self._claim(stream, hello, identity)
        self._connections.add(connection)
        watch = asyncio.create_task(self._until_revoked(identity, connection), name="link token check")
        try:
            if self._stopping:
                connection.drain()
            welcome = self._handshake.welcome(session, resumed, token_unchecked=identity.token_unchecked)
            drained = await connection.run(welcome)
        finally:
            watch.cancel()
            self._connections.discard(connection)
        if drained:
            await self._lifecycle.end(session)
            await stream.write(encode_server(Drain()))

    async def _claim(
        self, stream: MessageStream, hello: Hello, identity: PeerIdentity
    ) -> tuple[Connection, Session, bool]:
        """Finds or begins the session of a stream, and waits until the stream may use it."""
        while True:
            session, resumed = await self._lifecycle.open(hello, identity)
            limiter = self._rate_limits.of_stream(identity.host)
            connection = self._new_connection(session, stream, limiter=limiter)
            answer = await session.claim(connection.abandon)
            if answer is Claim.GRANTED:
                return connection, session, resumed
            if answer is Claim.SUPERSEDED:
                raise StreamBroken("ABORTED", "the session continues on another stream")

    async def _until_revoked(self, identity: PeerIdentity, connection: Connection) -> None:
        """Ends a stream when its sender's token is no longer valid."""
        while True:
            await asyncio.sleep(_TOKEN_RECHECK_INTERVAL_S)
            try:
                self._authenticator.check(identity)
            except TokenRefused as refusal:
                connection.abandon(refusal)
                return

    def _report(self, refusal: Refusal, account: str, who: str, why: str) -> None:
        """Counts a refused stream, and logs it: one line for each kind and account in a minute."""
        self._on_refused(refusal)
        self._lines.write(logging.WARNING, (refusal, account), f"refused {who}: {why}")

    def _log(self, level: int, context: CallContext, kind: Hashable, text: str) -> None:
        self._lines.write(level, (kind, host_of(context.peer())), f"stream of {context.peer()} ended: {text}")


def _described(error: Exception) -> str:
    """An unexpected error in one line: its type, its message, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_MAX_ERROR_CHARACTERS]}{where}"


async def _abort(context: CallContext, end: StreamBroken) -> None:
    # grpc.aio raises AbortError to leave the handler, which is at its end here.
    with contextlib.suppress(grpc.aio.BaseError, asyncio.InvalidStateError):
        await context.abort(grpc.StatusCode[end.code], end.reason)
