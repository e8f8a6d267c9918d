"""The handshake of a stream: Hello, versions, session, Welcome."""

import asyncio

from common.clock import Clock
from common.errors import MalformedPacket
from common.wire.convert import PROTOCOL_VERSION, Hello, Welcome, decode_client
from common.wire.stream import MessageStream, StreamBroken
from receiver.link.auth.authenticator import PeerIdentity
from receiver.link.session import FrameHandler, Session, SessionRegistry

_HELLO_TIMEOUT_S = 5.0


async def receive_hello(stream: MessageStream) -> Hello:
    """Waits for the first message of a stream.

    Raises:
        StreamBroken: it is not Hello, or does not arrive in time.
    """
    try:
        async with asyncio.timeout(_HELLO_TIMEOUT_S):
            data = await stream.read()
        hello = None if data is None else decode_client(data)
    except TimeoutError:
        raise StreamBroken("DEADLINE_EXCEEDED", "no Hello") from None
    except MalformedPacket as error:
        raise StreamBroken("INVALID_ARGUMENT", str(error)) from error
    if not isinstance(hello, Hello):
        raise StreamBroken("INVALID_ARGUMENT", "the first message is not Hello")
    return hello


class Handshake:
    """Checks the versions of senders, and finds or creates their sessions.

    Args:
        handler: notified of sessions that begin or expire.
        model_hash, codec_version: senders must have the same.
        window: most unacknowledged frames of a sender.
        peer_sessions: most sessions of one sender.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        handler: FrameHandler,
        *,
        model_hash: bytes,
        codec_version: int,
        window: int,
        peer_sessions: int,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._handler = handler
        self._model_hash = model_hash
        self._codec_version = codec_version
        self._window = window
        self._peer_sessions = peer_sessions
        self._clock = clock

    def refusal(self, hello: Hello) -> Welcome | None:
        """The answer to a sender whose versions do not fit; None if they do."""
        reason = self._mismatch(hello)
        return Welcome(False, self._model_hash, reason) if reason else None

    async def session_for(self, hello: Hello, identity: PeerIdentity) -> tuple[Session, bool]:
        """Finds or creates the session of a stream; returns it, and whether it is resumed.

        Raises:
            StreamBroken: the session belongs to another sender, or there are too many sessions.
        """
        now_s = self._clock.monotonic()
        for expired in self._registry.take_expired(now_s):
            await self._handler.on_session_end(expired)
        known = self._registry.find(hello)
        if known is not None:
            if identity.proven and known.owner != identity.name:
                raise StreamBroken("PERMISSION_DENIED", "the session belongs to another sender")
            return known, True
        if self._registry.count_of(identity.name) >= self._peer_sessions:
            raise StreamBroken("RESOURCE_EXHAUSTED", f"{identity.name} has the maximum number of sessions per sender")
        session = self._registry.create(hello, now_s, identity.name)
        if session is None:
            raise StreamBroken("RESOURCE_EXHAUSTED", "the receiver has its maximum number of sessions")
        await self._handler.on_session(session)
        return session, False

    def welcome(self, session: Session, resumed: bool) -> Welcome:
        """The answer to an accepted sender; its stream must have claimed the session."""
        return Welcome(
            accepted=True,
            model_hash=self._model_hash,
            next_sequence=session.next_sequence,
            window=self._window,
            resumed=resumed,
            decodable_from=session.decodable_from,
        )

    def _mismatch(self, hello: Hello) -> str:
        if hello.protocol_version != PROTOCOL_VERSION:
            return f"it has protocol version {PROTOCOL_VERSION}, the sender version {hello.protocol_version}"
        if hello.codec_version != self._codec_version:
            return f"it has codec version {self._codec_version}, the sender version {hello.codec_version}"
        if hello.model_hash != self._model_hash:
            return f"it has model {self._model_hash.hex()}, the sender {hello.model_hash.hex()}"
        return ""
