"""Sessions outlive streams: what the receiver remembers of a sender, so that it may come back where it stopped."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from common.blobs import Blob
from common.codec.frame_codec import DecodedFrame
from common.errors import MalformedPacket
from common.wire.convert import NO_SEQUENCE, FrameMessage, Hello
from receiver.link.blob_assembly import BlobAssembly

# A live sender never comes back for a rejected frame, so the memory of them must not grow.
_REMEMBERED_REJECTIONS = 64


class FrameDecoder(Protocol):
    """The codec's decoder, with the states that later frames are predicted from (`FrameCodec`)."""

    def decode(self, payload: bytes) -> DecodedFrame:
        """Decodes one packet; an incomplete one leaves the state as it was.

        Raises:
            WireError: the packet must not be decoded; the state stays as it was.
        """


@dataclass(frozen=True, slots=True)
class SenderClock:
    """How the sender's clock stands to ours.

    Args:
        offset_s: ours minus the sender's.
        error_s: how far off that can be.
    """

    offset_s: float
    error_s: float


@dataclass(slots=True)
class Session:
    """One sender's stream of frames, over any number of connections.

    Args:
        session_id: 16 bytes that the sender chose.
        next_sequence: one after the last frame that was decoded and handled. A handler may raise it in `on_session`
            when it knows from disk what an earlier receiver had done.
        decodable_from: the sequence that the decoder's newest state stands at.
        clock: the sender's, once it is known.
        owner: who began it, as the door knows senders.
        durable: what is acknowledged must be on disk.
        silent: the sender has given no message for too long.
        blobs: what comes in chunks.
    """

    session_id: bytes
    sender: str
    live: bool
    decoder: FrameDecoder
    next_sequence: int = 0
    decodable_from: int = NO_SEQUENCE
    last_heard_s: float = 0.0
    clock: SenderClock | None = None
    owner: str = ""
    durable: bool = False
    silent: bool = False
    blobs: BlobAssembly = field(default_factory=BlobAssembly)
    _rejected: dict[int, None] = field(default_factory=dict)
    _release: Callable[[], None] | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def held(self) -> bool:
        """Whether a stream holds the session now."""
        return self._release is not None

    async def claim(self, release: Callable[[], None]) -> None:
        """Takes the session for a stream; one that holds it finishes its frame in hand first.

        Args:
            release: makes the new holder let go (`let_go`) as soon as it can.
        """
        while self._release is not None:
            self._release()
            await self._released.wait()
        self._release = release
        self._released.clear()
        self.silent = False

    def let_go(self) -> None:
        """The stream that holds the session will not touch it any more."""
        self._release = None
        self._released.set()

    def decode(self, frame: FrameMessage) -> DecodedFrame:
        """Decodes a frame's payload and advances the state that later frames are predicted from.

        Raises:
            WireError: the payload must not be decoded, is incomplete, or belongs to another frame.
        """
        decoded = self.decoder.decode(frame.payload)
        if not decoded.complete:
            # An incomplete packet is no reference for later ones: rejected, it is sent again.
            raise MalformedPacket("the packet was cut short")
        if decoded.frame.sequence != frame.sequence:
            raise MalformedPacket(f"frame {frame.sequence} holds the payload of frame {decoded.frame.sequence}")
        self.decodable_from = max(self.decodable_from, frame.sequence)
        return decoded

    def has_handled(self, sequence: int) -> bool:
        """Whether a frame was decoded and handled before."""
        return sequence < self.next_sequence and sequence not in self._rejected

    def handled(self, sequence: int) -> None:
        """Records that a frame was decoded and handled."""
        self._rejected.pop(sequence, None)
        self.next_sequence = max(self.next_sequence, sequence + 1)

    def rejected(self, sequence: int) -> None:
        """Records that a frame could not be decoded, so that it may come again even after later ones."""
        self._rejected[sequence] = None
        while len(self._rejected) > _REMEMBERED_REJECTIONS:
            del self._rejected[next(iter(self._rejected))]


class FrameHandler(Protocol):
    """What the link hands frames to; the receiver's pipeline."""

    async def on_session(self, session: Session) -> None:
        """A session begins; called before the sender is welcomed."""

    async def on_frame(self, session: Session, frame: FrameMessage) -> None:
        """Decodes (`session.decode`) and reconstructs a frame; it is acknowledged when this returns.

        In a `durable` session it is on disk then.

        At most a window of frames is unacknowledged, so what is awaited here is what bounds latency. Frames of one
        session come one after the other, in order.

        Raises:
            WireError: it must not be decoded; the link asks for a key frame.
        """

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Takes in something bulky, which may come at any time between two frames; must not block.

        Raises:
            WireError: it is not what its kind says; it is dropped.
        """

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        """A frame that was handled before came again, or (None) a message came that no frame can be read from."""

    async def on_session_end(self, session: Session) -> None:
        """A session is over: drained, expired, or the receiver stops."""


class SessionRegistry:
    """All sessions, by id.

    Args:
        new_decoder: makes the decoder of a new session.
        keep_s: how long a session is kept after its sender was last seen.
        capacity: how many sessions there may be at once.
    """

    def __init__(self, new_decoder: Callable[[], FrameDecoder], *, keep_s: float = 300.0, capacity: int = 64) -> None:
        self._new_decoder = new_decoder
        self._keep_s = keep_s
        self._capacity = capacity
        self._sessions: dict[bytes, Session] = {}

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def find(self, hello: Hello) -> Session | None:
        """The session that a sender wants to resume, if it is still known."""
        return self._sessions.get(hello.session_id) if hello.resume else None

    def count_of(self, owner: str) -> int:
        """How many sessions somebody has."""
        return sum(session.owner == owner for session in self._sessions.values())

    def create(self, hello: Hello, now_s: float, owner: str = "") -> Session | None:
        """A new session of somebody; None if there are too many."""
        if len(self._sessions) >= self._capacity:
            return None
        session = Session(
            hello.session_id,
            hello.sender,
            hello.live,
            self._new_decoder(),
            last_heard_s=now_s,
            owner=owner,
            durable=hello.durable,
        )
        self._sessions[hello.session_id] = session
        return session

    def remove(self, session: Session) -> bool:
        """Forgets a session; False if it was forgotten already."""
        return self._sessions.pop(session.session_id, None) is not None

    def take_expired(self, now_s: float) -> list[Session]:
        """Removes and returns the sessions whose senders have been away for too long."""
        expired = [
            session
            for session in self._sessions.values()
            if not session.held and now_s - session.last_heard_s > self._keep_s
        ]
        for session in expired:
            self.remove(session)
        return expired

    def take_all(self) -> list[Session]:
        """Removes and returns every session."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        return sessions
