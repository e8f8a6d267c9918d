"""Sessions: the receiver's state of each sender, which outlives streams so that the sender can resume."""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import IO

from common.blobs import Blob
from common.errors import ChecksumMismatch, MalformedPacket
from common.wire.convert import NO_SEQUENCE, Chunk
from common.wire.frame_messages import SenderReport
from common.wire.stream import StreamBroken
from common.wire.traffic import Traffic
from receiver.link.auth.ownership import SessionOwner
from receiver.link.own_senders import OwnKind, OwnSender

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
    _lease: IO[bytes] | None = None
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
        if self._lease is not None:
            self._lease.close()
            self._lease = None
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

    def hold(self, lease: IO[bytes]) -> None:
        """Closes what keeps other receivers from the session when its stream releases it."""
        self._lease = lease

    def has_handled(self, sequence: int) -> bool:
        """Whether a frame was decoded and handled before, or of a live session one behind it."""
        return sequence < self.next_sequence

    def handled(self, sequence: int) -> None:
        """Records that a frame was decoded and handled."""
        self.next_sequence = max(self.next_sequence, sequence + 1)
        self.decodable_from = max(self.decodable_from, sequence)
