"""A pipeline that keeps the owners of sessions as the receiver's output directory does, also over restarts."""

import asyncio

from common.wire.convert import FrameMessage
from receiver.link.refusals import NotOwner, SessionOwner
from receiver.link.session import Arrival, FrameOutcome, Session
from tests.support.link.recording_pipeline import RecordingPipeline


class OwnedSessions:
    """Owners and frames by session, as they would be on the disk; it outlives receivers."""

    def __init__(self) -> None:
        self.owners: dict[bytes, SessionOwner] = {}
        self.frames: dict[bytes, list[int]] = {}

    def open(self, session: Session) -> int:
        """Opens a session's output; returns one after the last frame in it.

        Raises:
            NotOwner: it belongs to another sender.
        """
        if not self.owners.setdefault(session.session_id, session.owner).admits(session.owner):
            raise NotOwner("the output directory has this session from another sender")
        written = self.frames.setdefault(session.session_id, [])
        return max((sequence + 1 for sequence in written), default=0)


class OwnedPipeline(RecordingPipeline):
    """Also records frames by session; a frame of an unknown session is a bug.

    Args:
        disk: what survives the receiver.
    """

    def __init__(self, disk: OwnedSessions) -> None:
        super().__init__()
        self.disk = disk
        self.opening = asyncio.Event()
        self.opening.set()
        self.events: list[str] = []
        self.present: set[bytes] = set()

    @property
    def peers(self) -> int:
        """The gauge of peers: sessions that began and did not end."""
        begun = sum(event.startswith("begin") for event in self.events)
        return begun - sum(event.startswith("end") for event in self.events)

    async def on_session(self, session: Session) -> int:
        await self.opening.wait()
        if self.failure is not None:
            raise self.failure
        next_sequence = self.disk.open(session)
        await super().on_session(session)
        assert session.session_id not in self.present
        self.present.add(session.session_id)
        self.events.append(f"begin {session.sender}")
        return next_sequence

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        assert session.session_id in self.present
        outcome = await super().on_frame(session, frame, arrival)
        assert session.session_id in self.present
        self.disk.frames[session.session_id].extend(frame.sequences)
        return outcome

    async def on_session_end(self, session: Session) -> None:
        self.present.remove(session.session_id)
        self.events.append(f"end {session.sender}")
