"""Who watches what the receiver takes and publishes: the live page, and recordings."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.texture.face_picture import LiveFace
from receiver.engine.engine import ReconstructedPerson
from receiver.link.refusals import OwnSender
from receiver.link.session import Session
from receiver.publish.frame_record import FrameRecord


class SessionObserver:
    """Is notified of sessions, in the event loop; no method may block or raise. By default each does nothing.

    `number` is the session's number in the output directory, as in `frames.jsonl`.
    """

    def session_began(self, number: int, session: Session) -> None:
        """A session begins; one that an earlier receiver has recorded keeps its number."""

    def packet_decoded(self, number: int, decoded: Sequence[DecodedFrame], payload: bytes, decoder: FrameCodec) -> None:
        """A packet was decoded, right before its frames are reconstructed; the decoder has the state behind it."""

    def blob_taken(self, number: int, blob: Blob) -> None:
        """A blob was taken; it counts for the frames that follow."""

    def face_shown(self, number: int, identity: int, face: LiveFace) -> None:
        """A picture of somebody's face has come."""

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        """A frame was written; `people` are in the order of the record's, and must not be changed."""

    def session_ended(self, number: int) -> None:
        """A session has ended; its files stay."""


@dataclass(frozen=True, slots=True, eq=False)
class ObservedSender(OwnSender):
    """A process of the receiver whose sessions have observers of their own; uploads have no others."""

    observers: Sequence[SessionObserver] = ()
