"""What the link asks of whoever takes its frames (`receiver.pipeline`), and what it tells about each."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from common.blobs import Blob
from common.wire.convert import FrameMessage
from receiver.link.session import Session


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
