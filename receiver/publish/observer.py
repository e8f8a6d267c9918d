"""Who watches what is published: the live page, beside the files."""

from collections.abc import Sequence
from typing import Protocol

from common.frames import Camera
from receiver.engine.engine import ReconstructedPerson
from receiver.link.session import Session
from receiver.publish.frame_record import FrameRecord


class FrameObserver(Protocol):
    """Is notified of sessions and published frames, in the event loop; no method may block or raise.

    `session_number` is the session's number in the output directory, as in `frames.jsonl`.
    """

    def session_began(self, session_number: int, session: Session) -> None:
        """A session begins; one that an earlier receiver has recorded keeps its number."""

    def frame_published(
        self,
        session_number: int,
        session: Session,
        record: FrameRecord,
        people: Sequence[ReconstructedPerson],
        camera: Camera,
    ) -> None:
        """A frame was written.

        Args:
            record: the frame's line.
            people: in the order of the record's; their arrays must not be changed.
            camera: of the frame.
        """

    def preview_received(self, session_number: int, jpeg: bytes) -> None:
        """A small picture of what the sender sees has arrived (`sender --share-preview`).

        Args:
            jpeg: checked for its size and its first bytes, never decoded.
        """

    def session_ended(self, session_number: int) -> None:
        """A session has ended; its files stay."""


class Unobserved:
    """Nobody watches."""

    def session_began(self, session_number: int, session: Session) -> None: ...

    def frame_published(
        self,
        session_number: int,
        session: Session,
        record: FrameRecord,
        people: Sequence[ReconstructedPerson],
        camera: Camera,
    ) -> None: ...

    def preview_received(self, session_number: int, jpeg: bytes) -> None: ...

    def session_ended(self, session_number: int) -> None: ...
