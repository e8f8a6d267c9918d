"""Connects to a receiver, and again after a loss: handshake, standby connection, greeting.

A second connection, opened while the first is silent: after an outage it is usable first.

TCP retransmits after 0.3 s of silence, 0.9 s, 2.1 s…: the old connection notices the end of an outage up to as long
again after it as the outage lasted.

Connects to a receiver: attempts with backoff, until a handshake succeeds or the time is over.

A handshake is not enough: a receiver whose disk is full, or one that is full for now, may end every stream at once. So
the delay before the next stream grows as long as no frame is acknowledged, and the time counts from the last progress.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from common.errors import ModelMismatch, PeerError, VersionMismatch, WireError
from common.io.addresses import Address
from common.io.tasks import cancel
from common.wire.convert import Hello, Welcome, decode_server, encode_client
from common.wire.stream import MessageStream, StreamBroken
from common.wire.version_probe import is_of_networks, is_probe, probe_hello
from sender.link.diagnosis import refusal, unreachable


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


T = TypeVar("T", bound=Closable)


class StandbyConnection(Generic[T]):
    """At most one connection that is not in use yet (`reach`: opens a connection, however long it takes)."""

    def __init__(self, reach: Callable[[], Awaitable[T]]) -> None:
        self._reach = reach
        self._opening: asyncio.Future[T] | None = None

    def seek(self) -> None:
        """Starts to open a connection, unless one is open or being opened."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._reach())

    @property
    def is_open(self) -> bool:
        return self._done and self._opening is not None and self._opening.exception() is None

    @property
    def failed(self) -> bool:
        return self._done and not self.is_open

    @property
    def _done(self) -> bool:
        return self._opening is not None and self._opening.done() and not self._opening.cancelled()

    async def wait(self, timeout_s: float) -> None:
        """Waits for this time, or until the connection that is being opened is open."""
        if self._opening is None or self._done:
            await asyncio.sleep(timeout_s)
        else:
            await asyncio.wait([self._opening], timeout=timeout_s)

    async def take(self) -> T:
        """Waits for the connection and hands it over; the next call opens another one.

        Raises:
            StreamBroken: the peer's machine refuses the connection.
        """
        if self.failed:
            await self.dismiss()  # an earlier failure does not matter now
        self.seek()
        assert self._opening is not None
        try:
            return await self._opening
        finally:
            self._opening = None

    async def dismiss(self) -> None:
        """Closes the connection, or stops opening it."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            # `gather` keeps the cancellation of the opening apart from one of the caller, which must not be lost.
            (stream,) = await asyncio.gather(opening, return_exceptions=True)
            if not isinstance(stream, BaseException):
                with suppress(Exception):
                    await stream.close()


logger = logging.getLogger(__name__)

# Between attempts that nothing answers: a receiver that restarts is found within the longest delay.
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 1.0
# Between streams without progress; shorter than a receiver waits for Hello on a standby connection.
_FIRST_STALL_BACKOFF_S, _MAX_STALL_BACKOFF_S = 0.25, 4.0
# Time limit of a handshake, which doubles after each failure: a peer may accept the connection and send nothing.
_FIRST_HANDSHAKE_TIMEOUT_S, _MAX_HANDSHAKE_TIMEOUT_S = 1.0, 4.0
# After which a receiver that has not answered at the start is said to be absent.
_SILENCE_S = 0.6
# The first diagnosis may be wrong: a receiver may have opened its port between the attempt and the diagnosis.
_MAX_DIAGNOSES = 2
_REFUSAL_CODES = (
    *("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"),
    *("UNAUTHENTICATED", "PERMISSION_DENIED"),
)
# A receiver that is full ends the stream with RESOURCE_EXHAUSTED and a reason that begins like this.
_FULL_FOR_NOW = "full for now"
_NO_ANSWER = StreamBroken("DEADLINE_EXCEEDED", "no answer")


class NoReceiver(PeerError):
    """Nothing answers in time, or something that is no receiver."""


class Backoff:
    """Delays that double up to a cap, each shortened at random by up to half to spread the attempts of many senders.

    Args:
        first_s: the longest first delay.
        cap_s: the longest later delay.
    """

    def __init__(self, first_s: float, cap_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._rng = rng
        self._next_s = first_s

    def reset(self) -> None:
        """Starts again with the shortest delay: an attempt succeeded."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """The delay before the next attempt, in seconds."""
        delay_s = self._next_s * self._rng.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._cap_s)
        return delay_s


class Connector:
    """Opens streams to a receiver.

    Args:
        connect_timeout_s: how long to try to reach the receiver for the first time.
        reconnect_timeout_s: how long to try without progress after a stream was lost, or while the receiver is full.
        answer_s: how long a receiver may take to answer, because the link is thin.
    """

    def __init__(
        self,
        peer: Address,
        transport: StreamOpener,
        rng: random.Random,
        *,
        connect_timeout_s: float,
        reconnect_timeout_s: float,
        answer_s: float = 0.0,
    ) -> None:
        self._peer, self._transport = peer, transport
        self._connect_timeout_s, self._reconnect_timeout_s = connect_timeout_s, reconnect_timeout_s
        self._handshake_timeouts_s = tuple(
            max(least_s, answer_s) for least_s in (_FIRST_HANDSHAKE_TIMEOUT_S, _MAX_HANDSHAKE_TIMEOUT_S)
        )
        self._silence_s = max(_SILENCE_S, answer_s)
        self._backoff = Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S, rng)
        self._stall_backoff = Backoff(_FIRST_STALL_BACKOFF_S, _MAX_STALL_BACKOFF_S, rng)
        self._stalled_since_s: float | None = None
        self._unproven = False
        self._loss = ""
        self._reported: set[str] = set()
        self._token_reported = False
        self._absence_told = False
        self.standby: StandbyConnection[ClientStream] = StandbyConnection(lambda: transport.reach(peer))

    @property
    def loss(self) -> str:
        """Why the last stream was lost; empty if there has been progress since."""
        return self._loss

    def made_progress(self) -> None:
        """Ends the present stall: a frame was acknowledged, or a stream has lasted that had none to acknowledge."""
        self._stalled_since_s = None
        self._unproven = False
        self._loss = ""
        self._reported.clear()
        self._stall_backoff.reset()

    async def connect(self, hello: Hello) -> tuple[ClientStream, Welcome]:
        """Connects for the first time and makes the handshake.

        A session that an earlier process had waits until something else at this address, such as a proxy, gives way.

        Raises:
            NoReceiver: nothing answers, or something that is not a receiver.
            PeerError: the receiver refuses the session.
            ModelMismatch: the receiver has other weights.
            VersionMismatch: the receiver has another version of the protocol.
        """
        silence = asyncio.create_task(self._tell_silence())
        try:
            return await self._open(hello, asyncio.get_running_loop().time(), self._connect_timeout_s, reconnect=False)
        finally:
            await cancel([silence])

    async def reconnect(self, hello: Hello, reason: str) -> tuple[ClientStream, Welcome]:
        """Connects again after a stream was lost; waits first if that stream has made no progress.

        There was a receiver at this address before, so anything else that answers there is ignored until the time is
        over.

        Raises:
            PeerError: the time without progress is over, or the receiver refuses the session.
            ModelMismatch: the receiver has other weights.
            VersionMismatch: the receiver has another version of the protocol.
        """
        now_s, timeout_s, self._loss = asyncio.get_running_loop().time(), self._reconnect_timeout_s, reason
        if self._stalled_since_s is None:
            self._stalled_since_s = now_s
        if self._unproven:
            delay_s = self._stall_backoff.next_s()
            if now_s + delay_s >= self._stalled_since_s + timeout_s:
                raise PeerError(self._surrender(_NO_ANSWER, timeout_s))
            await asyncio.sleep(delay_s)
        return await self._open(hello, self._stalled_since_s, timeout_s, reconnect=True)

    def _warn_of_token(self, welcome: Welcome) -> None:
        if welcome.token_unchecked and not self._token_reported:
            logger.warning(
                "%s checks no tokens, so that --token-file has no effect: start it with --tokens", self._peer
            )
            self._token_reported = True

    async def _open(
        self, hello: Hello, since_s: float, timeout_s: float, *, reconnect: bool
    ) -> tuple[ClientStream, Welcome]:
        loop = asyncio.get_running_loop()
        handshake_timeout_s, most_timeout_s = self._handshake_timeouts_s
        diagnoses = 0
        failure: StreamBroken | None = None
        while True:
            try:
                async with asyncio.timeout_at(since_s + timeout_s):
                    stream = await self.standby.take()
                    welcome = await handshake(self._peer, hello, stream, handshake_timeout_s)
                self._backoff.reset()
                self._unproven = True
                self._warn_of_token(welcome)
                return stream, welcome
            except TimeoutError:
                # An attempt that the end of the time has cut off says less than the one before.
                if failure is None or loop.time() < since_s + timeout_s:
                    failure = _NO_ANSWER
            except StreamBroken as error:
                raise_if_refused(self._peer, error)
                failure = error
            if _is_full(failure):
                timeout_s = max(timeout_s, self._reconnect_timeout_s)
            handshake_timeout_s = min(2 * handshake_timeout_s, most_timeout_s)
            delay_s = self._delay_s(failure)
            late = loop.time() + delay_s >= since_s + timeout_s
            is_receiver = _is_full(failure) or (reconnect and not late)
            diagnosis = None if is_receiver else await self._transport.diagnose(self._peer)
            diagnoses += diagnosis is not None
            if late or (diagnoses >= _MAX_DIAGNOSES and not hello.resume):
                raise NoReceiver(diagnosis or self._surrender(failure, timeout_s))
            if not (reconnect or diagnosis or _is_answer(failure)):
                self._tell_absence(unreachable(str(self._peer), f"yet ({failure.reason})"))
            if diagnosis is not None and diagnoses == _MAX_DIAGNOSES:
                logger.warning("%s; waiting for the receiver that this session had", diagnosis)
            await asyncio.sleep(delay_s)

    def _delay_s(self, failure: StreamBroken) -> float:
        """The delay before the next attempt; grows longer if the receiver answers, which is reported once a stall."""
        if not _is_answer(failure):
            return self._backoff.next_s()
        state = f"is {failure.reason}" if _is_full(failure) else f"does not take the session ({failure.reason})"
        if state not in self._reported:
            self._reported.add(state)
            logger.warning("the receiver at %s %s; waiting", self._peer, state)
        return self._stall_backoff.next_s()

    async def _tell_silence(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._silence_s):
                await asyncio.Event().wait()
        silent = unreachable(str(self._peer), f"yet ({_NO_ANSWER.reason})")
        self._tell_absence(await self._transport.diagnose(self._peer) or silent)

    def _tell_absence(self, state: str) -> None:
        """Logs once that there is no receiver at the start, and how long one is waited for."""
        if not self._absence_told:
            self._absence_told = True
            limit = f"for {self._connect_timeout_s:g} s" if self._connect_timeout_s < math.inf else "until there is one"
            logger.warning("%s; trying %s", state, limit)

    def _surrender(self, failure: StreamBroken, timeout_s: float) -> str:
        """What is wrong, when the time is over."""
        place = str(self._peer)
        if _is_full(failure):
            advice = "try again later, or give a longer --reconnect-timeout"
            return f"the receiver at {place} had no room within {timeout_s:g} s ({failure.reason}): {advice}"
        if _is_answer(failure):
            return f"the receiver at {place} did not take the session within {timeout_s:g} s: {failure.reason}"
        if self._unproven and failure is _NO_ANSWER:
            return f"the receiver at {place} acknowledged no frame within {timeout_s:g} s: {self._loss}"
        return unreachable(place, f"within {timeout_s:g} s ({failure.reason})")


def _is_full(failure: StreamBroken) -> bool:
    """Whether the receiver has no room for a session, which will pass."""
    return failure.code == "RESOURCE_EXHAUSTED" and failure.reason.startswith(_FULL_FOR_NOW)


def _is_answer(failure: StreamBroken) -> bool:
    """Whether there is a receiver that cannot take the session now."""
    return _is_full(failure) or failure.code == "INTERNAL"


def raise_if_refused(peer: Address, error: StreamBroken) -> None:
    """Raises PeerError if a stream ended because the peer is no receiver, or does not take this sender."""
    if error.code == "UNIMPLEMENTED":
        raise PeerError(f"{peer} is a gRPC server, but not a Bodywire receiver: check --peer") from error
    if error.code in _REFUSAL_CODES and not _is_full(error):
        raise PeerError(refusal(peer, error.reason)) from error


# For a receiver that may be absent: what is there answers sooner.
_ANSWER_S = 1.0


async def greet(transport: StreamOpener, peer: Address, networks: bytes, timeout_s: float) -> str:
    """Makes a handshake that the receiver refuses because of its networks alone, if it is one that fits.

    Args:
        networks: hash of the sender's weights.

    Returns:
        Over what: "QUIC" or "gRPC".

    Raises:
        PeerError: nothing answers in time, or something that is no receiver, or it refuses this sender.
        ModelMismatch: the receiver has other weights.
        VersionMismatch: the receiver has another version of protocol or codec.
    """
    if diagnosis := await transport.diagnose(peer):
        raise PeerError(diagnosis)
    try:
        async with asyncio.timeout(timeout_s):
            stream = await transport.reach(peer)
        welcome = await handshake(peer, probe_hello("sender doctor"), stream, timeout_s)
    except (StreamBroken, TimeoutError) as error:
        reason = "no answer"
        if isinstance(error, StreamBroken):
            raise_if_refused(peer, error)
            reason = error.reason
        raise PeerError(unreachable(str(peer), f"({reason})")) from error
    await stream.close()
    require_same_networks(peer, networks, welcome)
    return "QUIC" if stream.lossy else "gRPC"


async def find_receiver(
    transport: StreamOpener,
    peer: Address,
    name: str,
    networks: bytes,
    timeout_s: float,
    *,
    may_be_absent: bool = False,
) -> None:
    """Waits until a receiver takes this sender, and begins no session.

    Args:
        name: of the sender, for the receiver's log.
        networks: hash of the sender's weights.
        timeout_s: for a receiver to be there.
        may_be_absent: a second is long enough.

    Raises:
        PeerError, ModelMismatch, VersionMismatch: as `Connector.connect`.
    """
    wait_s = math.inf if may_be_absent else timeout_s
    connector = Connector(peer, transport, random.Random(), connect_timeout_s=wait_s, reconnect_timeout_s=wait_s)
    finding = asyncio.ensure_future(connector.connect(probe_hello(name)))
    try:
        await asyncio.wait([finding], timeout=_ANSWER_S if may_be_absent else None)
        if finding.done():
            stream, welcome = await finding
            await stream.close()
            require_same_networks(peer, networks, welcome)
    except NoReceiver as error:
        if not may_be_absent:
            raise
        logger.warning("%s", error)
    finally:
        await cancel([finding])
        await connector.standby.dismiss()
