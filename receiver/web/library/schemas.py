"""What the routes of recorded sessions take and show."""

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from common.frames import IDENTITIES
from receiver.publish.session_records import ALBUM, SessionState
from receiver.web.library.service import MAX_NAME
from receiver.web.small_body import Given


class SessionShown(BaseModel):
    """A recorded session.

    Args:
        name: what somebody has called it, or empty.
        album: whether its frames are pictures of their own, such as those of a folder.
        source: file name or device of the newest frame; of an album, `photos (5)`.
        length_s: from its first frame to its newest, in the source's own time.
        played_s: from the publication of its first frame to that of its newest, in the receiver's time: a video takes
            longer than it plays where the machine is slow.
        people: how many different people were seen, without those who are hidden.
        hidden: ids of those whom somebody has taken out: neither frames nor downloads have them, until they are brought
            back.
        bytes: on the disk.
        last_seq: sequence number of the newest frame.
        connected: whether its sender is.
        may_change: whether you may rename, change and delete it.
        fps: mean of frames a second of `length_s`.
        played_fps: mean of frames a second of `played_s`.
        label_bytes: mean size of a frame's labels.
        link_bps: mean bits a second of `played_s` of everything on the link; null without a link, as in a replay.
        age_ms: mean from capture to mesh; null if unknown.
    """

    number: int
    name: str
    album: bool
    source: str
    began_at: datetime
    ended_at: datetime
    length_s: float
    played_s: float
    people: int
    hidden: list[int]
    frames: int
    last_seq: int
    bytes: int
    connected: bool
    may_change: bool
    fps: float | None
    played_fps: float | None
    label_bytes: float
    link_bps: float | None
    age_ms: float | None

    @classmethod
    def from_state(cls, state: SessionState, *, connected: bool, may_change: bool) -> Self:
        about, frames = state.statistics, state.frames
        length_s, played_s = about.length_s, max(about.ended_at - about.began_at, 0.0)
        return cls(
            number=state.number,
            name=state.name,
            album=state.is_album,
            source=f"{ALBUM} ({frames})" if state.is_album else about.source,
            began_at=datetime.fromtimestamp(about.began_at, UTC),
            ended_at=datetime.fromtimestamp(about.ended_at, UTC),
            length_s=length_s,
            played_s=played_s,
            people=len(about.people.difference(state.hidden)),
            hidden=list(state.hidden),
            frames=frames,
            last_seq=state.last_sequence,
            bytes=about.disk_bytes,
            connected=connected,
            may_change=may_change,
            fps=(frames - 1) / length_s if length_s > 0 else None,
            played_fps=(frames - 1) / played_s if played_s > 0 else None,
            label_bytes=about.label_bytes / max(frames, 1),
            link_bps=8 * about.link_bytes / played_s if played_s > 0 and about.link_bytes else None,
            age_ms=about.mean_age_ms,
        )


class ClipShown(SessionShown):
    """The session of a clip that was uploaded now (`warnings`: what of the clip is damaged or missing)."""

    warnings: list[str]


class SessionsShown(BaseModel):
    """All recorded sessions."""

    sessions: list[SessionShown]


class FramesShown(BaseModel):
    """Consecutive frames of a session: lines of `frames.jsonl` (docs/outputs.md)."""

    frames: list[dict[str, Any]]


class SessionChange(Given):
    """What of a session is to be another: its name, which may be empty, and who is taken out; all others are in it."""

    name: str | None = Field(None, max_length=4 * MAX_NAME)
    hidden: list[int] | None = Field(None, max_length=IDENTITIES, description="ids of `frames.jsonl`")
