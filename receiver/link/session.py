"""Sessions, which outlive streams so that senders can resume; who gets one, and who handles their frames.

Who may begin a session, and what its stream may send: shares are fair between accounts, also when the receiver is
full.

A live camera cannot wait: when the engine is full, its frames are dropped. One session too many would make all of them
slow, so it is refused instead, and its sender tries again later. Sessions that are not live are always accepted: their
frames wait, and come after the live ones.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Protocol
from weakref import WeakValueDictionary

from common.blobs import Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.connections import TokenBucket
from common.errors import ChecksumMismatch, MalformedPacket
from common.io.recent import RecentRate
from common.text import counted
from common.wire.convert import NO_SEQUENCE, Chunk, FrameMessage
from common.wire.frame_messages import SenderReport
from common.wire.stream import StreamBroken
from common.wire.traffic import Traffic
from receiver.link.refusals import OwnKind, OwnSender, Refusal, SessionOwner, StreamRefused

# Live senders leave gaps, but no gap of two years at 30 frames a second; such a frame would use up the session.
_MAX_LEAP_FRAMES = 1 << 31

Evict = Callable[[StreamBroken], None]
"""Makes a stream release its session as soon as it can, and end for the given reason."""


class Claim(Enum):
    """Answer to a stream that wants to use a session."""

    GRANTED = auto()
    SUPERSEDED = auto()  # a newer stream asked before it was granted
    CLOSED = auto()  # the session has ended


class SessionUse:
    """The stream that uses a session; of those that wait for it, the newest is next."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._evict: Evict | None = None
        self._newest: Evict | None = None
        self._claims = 0
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether a stream uses the session now, or is about to."""
        return self._claims > 0

    async def claim(self, evict: Evict) -> Claim:
        """Waits for the present stream's frame, and takes the session over; `evict` is called to release it again."""
        self._newest = evict
        self._claims += 1
        if self._evict is not None:
            self._evict(StreamBroken("ABORTED", "the session continues on another stream"))
        try:
            await self._lock.acquire()
        except asyncio.CancelledError:
            self._claims -= 1
            raise
        if self._closed or self._newest is not evict:
            self.release()
            return Claim.CLOSED if self._closed else Claim.SUPERSEDED
        self._evict = evict
        return Claim.GRANTED

    def release(self) -> None:
        """Ends the use by the present stream; the next one takes its turn."""
        self._evict = None
        self._claims -= 1
        self._lock.release()

    async def close(self, reason: StreamBroken) -> None:
        """Refuses every further claim, ends the present stream, and waits until it has finished its frame."""
        self._closed = True
        if self._evict is not None:
            self._evict(reason)
        async with self._lock:
            return


class BlobAssembly:
    """The blobs of one session, over any number of streams; stores at most one unfinished blob."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._first: Chunk | None = None
        self._data = bytearray()

    def add(self, chunk: Chunk) -> Blob | None:
        """Adds a chunk.

        A blob that is sent again, because its last chunk ack was lost, is not returned again.

        Returns:
            The blob if this was its last chunk.

        Raises:
            MalformedPacket: the chunk does not follow the one before.
            ChecksumMismatch: the blob is complete, but damaged; it is dropped, and the next one may begin.
        """
        if chunk.offset == 0:
            self._first, self._data = chunk, bytearray()
        first = self._first
        if first is None or chunk.blob != first.blob or chunk.offset != len(self._data):
            raise MalformedPacket("a chunk does not follow the one before")
        if len(self._data) + len(chunk.data) > first.total:
            raise MalformedPacket("a chunk exceeds the size of its blob")
        self._data += chunk.data
        if len(self._data) < first.total:
            return None
        data, self._first, self._data = bytes(self._data), None, bytearray()
        if zlib.crc32(data) != first.checksum:
            raise ChecksumMismatch(f"blob {first.blob} has a wrong checksum")
        duplicate = self._last == (first.blob, first.checksum)
        self._last = first.blob, first.checksum
        return None if duplicate else Blob(first.kind, first.key, data)


@dataclass(frozen=True, slots=True)
class SenderClock:
    """Offset of the receiver's clock from the sender's, and its error bound."""

    offset_s: float
    error_s: float


@dataclass(slots=True)
class Session:
    """One sender's stream of frames, over any number of connections.

    What it is stays as it began; `handled` and `handled_before` count its frames; its connection sets `last_message_s`,
    `clock` and `report` by what the sender's messages say.

    Args:
        session_id: 16 bytes chosen by the sender.
        sender: its name, for logs.
        live: the sender drops stale frames, and never sends a frame again; otherwise they come in order.
        next_sequence: one after the last frame that was decoded and handled, by this receiver or an earlier one.
        decodable_from: the last frame that this receiver has handled, `NO_SEQUENCE` if there is none.
        last_message_s: monotonic time of the sender's last message.
        clock: offset of the sender's clock, once it is known.
        owner: the sender that began the session; no other may use it.
        account: whose share of the receiver the session takes: the proven identity, else the host's address.
        durable: frames are acknowledged only when they are on disk.
        timely: no filter delays the labels.
        replayed: the frames come from a recording: none is late.
        own: the receiver's own process that sends it; None for all other senders.
        report: what the sender has reported last about itself and its link.
        traffic: the account of its bytes.
    """

    session_id: bytes
    sender: str
    live: bool
    next_sequence: int = 0
    decodable_from: int = NO_SEQUENCE
    last_message_s: float = 0.0
    clock: SenderClock | None = None
    owner: SessionOwner = field(kw_only=True)
    account: str = field(kw_only=True)
    durable: bool = False
    timely: bool = False
    blobs: BlobAssembly = field(default_factory=BlobAssembly)
    replayed: bool = False
    own: OwnSender | None = None
    report: SenderReport | None = None
    traffic: Traffic = field(default_factory=Traffic)
    _use: SessionUse = field(default_factory=SessionUse)

    @property
    def upload(self) -> bool:
        """Whether a visitor of the page has uploaded what it shows."""
        return self.own is not None and self.own.kind is not OwnKind.CAMERA

    @property
    def recorded(self) -> bool:
        """Whether its frames are written to the disk."""
        return self.own is None or self.own.kind is not OwnKind.PICTURES

    @property
    def in_use(self) -> bool:
        """Whether a stream uses the session now."""
        return self._use.active

    async def claim(self, evict: Evict) -> Claim:
        """Takes the session for a stream; a stream that uses it finishes its present frame first."""
        return await self._use.claim(evict)

    def release(self) -> None:
        """Ends the use of the session by its stream; the next one continues behind the last frame that was handled."""
        self._use.release()

    async def close(self, reason: StreamBroken) -> None:
        """Ends the stream that uses the session after its present frame; no stream can claim the session again."""
        await self._use.close(reason)

    def check_leap(self, sequence: int) -> None:
        """Raises MalformedPacket for a frame that is more than 2³¹ frames ahead."""
        if sequence - self.next_sequence > _MAX_LEAP_FRAMES:
            raise MalformedPacket(
                f"frame {sequence} is more than 2^31 frames ahead of frame {self.next_sequence}, the next one"
            )

    def handled_before(self, next_sequence: int) -> None:
        """Wants no frames below a sequence: an earlier receiver process has handled them."""
        self.next_sequence = max(self.next_sequence, next_sequence)

    def has_handled(self, sequence: int) -> bool:
        """Whether a frame was decoded and handled before, or of a live session one behind it."""
        return sequence < self.next_sequence

    def handled(self, sequence: int) -> None:
        """Records that a frame was decoded and handled."""
        self.next_sequence = max(self.next_sequence, sequence + 1)
        self.decodable_from = max(self.decodable_from, sequence)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """When a frame arrived, and whether it is still the newest.

    Args:
        at_s: monotonic time.
        superseded: set while a frame waits that arrived later.
    """

    at_s: float
    superseded: asyncio.Event = field(default_factory=asyncio.Event)


class FrameOutcome(StrEnum):
    """What became of a frame that was decoded."""

    PUBLISHED = "published"
    LATE = "late"  # decoded only: it had waited for too long, and a newer one was there


class FrameHandler(Protocol):
    """Handles what the link receives."""

    async def on_session(self, session: Session) -> int:
        """Called when a session begins, before the sender gets its Welcome.

        Returns:
            One after the last frame that an earlier receiver process has handled, as far as the disk tells; else 0.

        Raises:
            NotOwner: an earlier receiver process had this session from another sender.
        """

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes and reconstructs a frame, or each of a bundle; the message is acknowledged when this returns.

        In a live session a frame that has waited long may be decoded without being reconstructed while it is
        superseded. In a durable session the frame must be on disk by then. The frames of one session are handled
        one after the other, in order; at most a window of them waits. Of a bundle the session records the earlier
        frames as handled one by one, so that an error behind them repeats none.

        Returns:
            What became of the last frame.

        Raises:
            WireError: the frame must not be decoded; the link asks for a key frame.
        """

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Handles a blob, which may arrive at any time between two frames; must not block.

        Raises:
            WireError: the content does not match the kind; the blob is dropped.
        """

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        """Called for a frame that was handled before, and with None for a message that cannot be parsed."""

    def on_stream_end(self, session: Session) -> None:
        """Called when a stream has released the session: the next one begins behind `session.decodable_from`."""

    async def on_session_end(self, session: Session) -> None:
        """Called when a session ends: drained, expired, evicted, or the receiver stops; no stream uses it any more."""


# A sender whose stream broke comes back within this time, unless it is gone.
_RETURN_S = 15.0
# An account yields a session only to one that has this many fewer: otherwise the two would take it from each other.
_FAIR_DIFFERENCE = 2
# What a session uses is counted over this time.
_WINDOW_S = 5.0
# A session that is younger counts like the mean of the others: its rate is not known.
_SETTLED_S = 2.0
# What each counts when no rate is known, as when many senders come back to a receiver that was restarted: one person at
# 15 frames a second.
_ASSUMED_PEOPLE_PER_SECOND = 15.0
# Share of the engine's capacity that is given away: above it, queues grow at every disturbance.
_USABLE_SHARE = 0.8
# Above this share, at most as many sessions begin at a time as have settled: a pool that is hardly used promises more
# than it keeps when all of its replicas work on the same cores.
_CAUTIOUS_SHARE = 0.5
# With a larger share of delayed frames the engine is full, whatever the rates say: senders that drop frames before they
# send them look smaller than they are. A single session that sends too much does not delay so many.
_DELAYED_SHARE = 0.05
# The streams of 64 sessions at 30 frames a second, with their keepalives, stay below this.
_STREAMS_AT_FULL_RATE_PER_HOST = 3


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits on the number of sessions."""

    total: int
    per_account: int

    def victim(
        self, account: str, sessions: Collection[Session], settled: Collection[Session], now_s: float
    ) -> Session | None:
        """The session that ends so that an account may begin another one; None if there is room.

        Sessions without a stream end first, those of the account with the most sessions before others and the longest
        silent first. Then shares are max-min fair: the account with the most sessions yields its youngest one, if it
        has at least two more than the newcomer.

        Args:
            sessions: all sessions, the oldest first.
            settled: those of them that have begun and may end.

        Raises:
            StreamRefused: no session may end.
        """
        counts = Counter(session.account for session in sessions)
        own = counts[account]
        if own >= self.per_account:
            own_idle = [session for session in settled if session.account == account and not session.in_use]
            if own_idle:
                return min(own_idle, key=_last_message_s)
            has = counted(own, "session")
            raise StreamRefused(
                Refusal.FULL, f"full for now: {account} has {has}, as many as one sender may have: end one"
            )
        if len(sessions) < self.total:
            return None
        gone = [session for session in settled if _is_gone(session, account, now_s)]
        if gone:
            return min(gone, key=lambda session: (-counts[session.account], session.last_message_s))
        most = max((counts[session.account] for session in settled), default=0)
        if most < own + _FAIR_DIFFERENCE:
            has = counted(len(sessions), "session")
            reason = f"full for now: the receiver has {has}, as many as its --max-sessions allows"
            raise StreamRefused(Refusal.FULL, reason)
        largest = [session for session in settled if counts[session.account] == most]
        idle = [session for session in largest if not session.in_use]
        return min(idle, key=_last_message_s) if idle else largest[-1]


class RateLimiter:
    """Slows down the reading of one stream (`data`: bytes of the stream)."""

    def __init__(self, data: TokenBucket, *messages: TokenBucket) -> None:
        self._data, self._messages = data, messages

    async def acquire(self, size: int) -> None:
        """Waits until a message of this many bytes may be taken."""
        wait_s = max(self._data.take(size), *(bucket.take(1) for bucket in self._messages))
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class RateLimits:
    """Makes the limiter of each stream.

    Messages are limited too, because a small one costs the event loop as much as a large one, and at each address,
    because one sender may open many streams.
    """

    def __init__(self, bytes_per_second: float, messages_per_second: float, clock: Clock) -> None:
        self._bytes, self._messages = bytes_per_second, messages_per_second
        self._clock = clock
        self._hosts: WeakValueDictionary[str, TokenBucket] = WeakValueDictionary()

    def of_stream(self, host: str) -> RateLimiter:
        """The limiter of a new stream from an address, which it shares with the others from there."""
        shared = self._hosts.get(host) or TokenBucket(_STREAMS_AT_FULL_RATE_PER_HOST * self._messages, self._clock)
        self._hosts[host] = shared
        return RateLimiter(TokenBucket(self._bytes, self._clock), TokenBucket(self._messages, self._clock), shared)


def _is_gone(session: Session, account: str, now_s: float) -> bool:
    """Whether a session has no stream, and ends without harm to a sender that is about to come back."""
    return not session.in_use and (session.account == account or now_s - session.last_message_s >= _RETURN_S)


def _last_message_s(session: Session) -> float:
    return session.last_message_s


class _Use:
    """The people of one session over the last seconds."""

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._people = RecentRate(_WINDOW_S)
        self.add(0, now_s)

    def add(self, people: int, now_s: float) -> None:
        self._people.add(people, now_s)

    def people_per_second(self, now_s: float) -> float | None:
        """None for a session that has just begun."""
        return None if now_s - self._began_s < _SETTLED_S else self._people.per_second(now_s)


class LiveLoad:
    """What live sessions use of an engine; nobody is refused while its `capacity`, people per second, is unknown."""

    def __init__(self, capacity: Callable[[], float | None] = lambda: None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._capacity = capacity
        self._clock = clock
        self._sessions: dict[bytes, _Use] = {}
        # 1 for each frame that was delayed, 0 for each other one.
        self._delays = RecentRate(_WINDOW_S)

    @property
    def people_per_second(self) -> float:
        """What all live sessions use; new ones count like the mean of the others, or 15 if there are no others."""
        known = self._known_rates()
        return len(self._sessions) * (sum(known) / len(known) if known else _ASSUMED_PEOPLE_PER_SECOND)

    def _known_rates(self) -> list[float]:
        now_s = self._clock.monotonic()
        rates = (use.people_per_second(now_s) for use in self._sessions.values())
        return [rate for rate in rates if rate is not None]

    def admit(self) -> None:
        """Raises StreamRefused if another session has no room, or live frames are delayed; the first one always has."""
        capacity = self._capacity()
        if capacity is None:
            return
        if capacity == 0:
            raise StreamRefused(Refusal.BUSY, "full for now: the reconstruction pool has no replica")
        delayed = self._delays.mean(self._clock.monotonic()) or 0.0
        if self._sessions and delayed > _DELAYED_SHARE:
            raise StreamRefused(
                Refusal.BUSY,
                f"full for now: {delayed:.0%} of the frames of live sessions wait for too long; give the receiver more "
                "--replicas",
            )
        sessions, used = len(self._sessions), self.people_per_second
        if sessions and used + used / sessions > _USABLE_SHARE * capacity:
            using = counted(sessions, "live session uses", "live sessions use")
            raise StreamRefused(
                Refusal.BUSY,
                f"full for now: {using} {used:.1f} of the {capacity:.1f} people per second that "
                "the reconstruction pool can do, and one more has no room; give the receiver more --replicas",
            )
        settled = len(self._known_rates())
        if sessions - settled >= max(settled, 1) and used + used / sessions > _CAUTIOUS_SHARE * capacity:
            begun = counted(sessions - settled, "live session has begun", "live sessions have begun")
            raise StreamRefused(Refusal.BUSY, f"full for now: {begun} just now, and will be measured first")

    def began(self, session_id: bytes) -> None:
        """Counts a live session."""
        self._sessions[session_id] = _Use(self._clock.monotonic())

    def received(self, session_id: bytes, people: int) -> None:
        """Counts a frame; one of a session that is not counted is ignored."""
        if session_id in self._sessions:
            self._sessions[session_id].add(people, self._clock.monotonic())

    def waited(self, *, delayed: bool) -> None:
        """A frame of a live session was dropped or reconstructed; `delayed` if the engine must have been full."""
        self._delays.add(delayed, self._clock.monotonic())

    def ended(self, session_id: bytes) -> None:
        """Forgets a session."""
        self._sessions.pop(session_id, None)
