"""The handshake of a stream: Hello within a time limit, versions, Welcome."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.connections import superfluous
from common.errors import MalformedPacket
from common.wire.convert import PROTOCOL_VERSION, Hello, Welcome, decode_client
from common.wire.stream import MessageStream, StreamBroken
from receiver.link.connection import WINDOW
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import Session

_HELLO_TIMEOUT_S = 5.0
_MAX_PENDING = 128


async def receive_hello(stream: MessageStream) -> Hello | None:
    """The first message of a stream; None if it ends without one, as that of a sender that only connects.

    Raises:
        StreamRefused: the message is not Hello.
        StreamBroken: the stream ended otherwise.
    """
    data = await stream.read()
    if data is None:
        return None
    try:
        hello = decode_client(data)
    except MalformedPacket as error:
        raise StreamRefused(Refusal.MALFORMED, str(error)) from error
    if not isinstance(hello, Hello):
        raise StreamRefused(Refusal.MALFORMED, "the first message is not Hello")
    return hello


@dataclass(eq=False, slots=True)
class _Pending:
    """A stream whose Hello has not arrived."""

    host: str
    timeout: asyncio.Timeout
    reason: StreamBroken
    over: bool = False

    def end(self, reason: StreamBroken) -> None:
        """Ends the waiting for another reason than the time."""
        if not self.over and not self.timeout.expired():
            self.over, self.reason = True, reason
            self.timeout.reschedule(asyncio.get_running_loop().time())


class PendingHandshakes:
    """The streams whose Hello has not arrived yet: bounded in time and number.

    Of too many the oldest one of the host with the most ends, so that a host that opens streams and says nothing keeps
    no other host out.

    Args:
        limit: most such streams.
        timeout_s: of each.
    """

    def __init__(self, limit: int = _MAX_PENDING, timeout_s: float = _HELLO_TIMEOUT_S) -> None:
        self._limit, self._timeout_s = limit, timeout_s
        self._pending: list[_Pending] = []

    @asynccontextmanager
    async def waiting(self, host: str) -> AsyncIterator[None]:
        """Limits the time in the block.

        Raises:
            StreamRefused: the time is over, or another stream needs the place.
            StreamBroken: the receiver is stopping.
        """
        async with asyncio.timeout(self._timeout_s) as timeout:
            pending = _Pending(host, timeout, StreamRefused(Refusal.SILENT, "no Hello"))
            self._pending.append(pending)
            self._make_room()
            try:
                yield
            except asyncio.CancelledError:
                if timeout.expired():
                    raise pending.reason from None
                raise
            finally:
                self._pending.remove(pending)

    def end_all(self, reason: StreamBroken) -> None:
        """Ends every stream that waits."""
        for pending in self._pending:
            pending.end(reason)

    def _make_room(self) -> None:
        waiting = [pending for pending in self._pending if not pending.over]
        for oldest in superfluous(((each, each.host) for each in waiting), len(waiting) - self._limit):
            oldest.end(StreamRefused(Refusal.FULL, "full for now: too many streams without Hello"))


class Handshake:
    """Checks the versions of senders, which must be the receiver's, and answers them."""

    def __init__(self, *, model_hash: bytes, codec_version: int) -> None:
        self._model_hash = model_hash
        self._codec_version = codec_version

    def refusal(self, hello: Hello) -> Welcome | None:
        """The answer to a sender whose versions do not fit; None if they do."""
        if hello.protocol_version != PROTOCOL_VERSION:
            reason = f"it has protocol version {PROTOCOL_VERSION}, the sender version {hello.protocol_version}"
        elif hello.codec_version != self._codec_version:
            reason = f"it has codec version {self._codec_version}, the sender version {hello.codec_version}"
        elif hello.model_hash != self._model_hash:
            reason = f"it has model {self._model_hash.hex()}, the sender {hello.model_hash.hex()}"
        else:
            return None
        return Welcome(False, self._model_hash, reason)

    def welcome(self, session: Session, resumed: bool, *, token_unchecked: bool = False) -> Welcome:
        """The answer to an accepted sender; its stream must have claimed the session."""
        return Welcome(
            accepted=True,
            model_hash=self._model_hash,
            next_sequence=session.next_sequence,
            window=WINDOW,
            resumed=resumed,
            decodable_from=session.decodable_from,
            token_unchecked=token_unchecked,
        )
