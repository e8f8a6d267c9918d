"""The playout buffer: labels arrive when they can, and views show people at their own rate.

    decoder ─ PlayoutBuffer (labels of everybody, when they arrive) ─ PlayoutView (a moment, without jumps) ─ VMC, page

Labels arrive in the event loop; views may be those of other threads.

Only sessions of live cameras are played out: of a file or a replay every frame is displayed.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from common.arrays import FloatArray
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.frames import LabelFrame, PersonLabels
from common.labels import FAST_GROUPS, OPTIONAL_GROUPS, group_slices
from common.motion.label_track import Continued, LabelsAt, LabelTrack, MotionPredictor, interpolated, with_frame
from receiver.link.session import SenderClock, Session
from receiver.motion.config import PlayoutConfig
from receiver.motion.playout.blending import STILL_S, BlendedPerson
from receiver.motion.playout.playout_clock import PlayoutClock
from receiver.publish.observer import SessionObserver


@dataclass(slots=True)
class _BufferedSession:
    """A live session: its newest frame, and the tracks of everybody by identity."""

    link: Session
    time: PlayoutClock
    newest: LabelFrame | None = None
    tracks: Mapping[int, LabelTrack] = field(default_factory=dict)
    clock_set_s: float = 0.0

    @property
    def clock(self) -> SenderClock | None:
        """The sender's clock as if nobody had set it."""
        clock = self.link.clock
        return None if clock is None else replace(clock, offset_s=clock.offset_s + self.clock_set_s)

    def take(self, decoded: DecodedFrame, now_s: float) -> None:
        """Takes everybody's labels, also of a frame that comes late."""
        frame, self.clock_set_s = decoded.frame, decoded.clock_set_s
        is_newest = self.newest is None or frame.sequence > self.newest.sequence
        self.time.arrived(frame.captured_at, None if self.newest is None else self.newest.captured_at, now_s)
        self.tracks = with_frame(self.tracks, frame, is_newest=is_newest)
        self.newest = frame if is_newest else self.newest


class PlayoutBuffer(SessionObserver):
    """Keeps the newest labels of everybody in live sessions.

    Args:
        predictor: continues motion.

    Attributes:
        live: whether people are displayed as they are predicted to be now.
        continued: continues motion.
    """

    def __init__(
        self, config: PlayoutConfig, predictor: MotionPredictor | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.live, self._on = config.playout == "live", config.playout != "off"
        self._clock = clock
        self.continued = Continued(predictor)
        self._labels_at = partial(interpolated, beyond=self.continued.predict)
        # Of all that is known of the sessions.
        self._lock = threading.Lock()
        self._sessions: dict[int, _BufferedSession] = {}
        self._views: list[PlayoutView] = []

    def view(self) -> "PlayoutView":
        """What shows people at its own rate."""
        self._views.append(view := PlayoutView(self, self._labels_at))
        return view

    def session_began(self, number: int, session: Session) -> None:
        """Plays it out if it is live."""
        if self._on and session.live and not session.replayed:
            with self._lock:
                self._sessions[number] = _BufferedSession(session, PlayoutClock(delayed=not self.live))

    def packet_decoded(self, number: int, decoded: Sequence[DecodedFrame], payload: bytes, decoder: FrameCodec) -> None:
        """Takes everybody's labels."""
        if (played := self._sessions.get(number)) is not None:
            with self._lock:
                for each in decoded:
                    played.take(each, self._clock.wall())

    def session_ended(self, number: int) -> None:
        """Forgets it."""
        with self._lock:
            self._sessions.pop(number, None)
        for view in self._views:
            view.forget(number)

    def newest(self, number: int) -> LabelFrame | None:
        """The newest frame of a session; None if the session is not played out, or has no frame yet."""
        played = self._sessions.get(number)
        return None if played is None else played.newest

    def moment(self, number: int) -> tuple[LabelFrame, Mapping[int, LabelTrack], float] | None:
        """The newest frame of a session, the tracks, and which moment is displayed, on the sender's clock.

        None if the session is not played out, or has no frame yet.
        """
        with self._lock:
            played = self._sessions.get(number)
            if played is None or played.newest is None:
                return None
            return played.newest, played.tracks, played.time.at(self._clock.wall(), played.clock)


@dataclass(frozen=True, slots=True)
class _ViewedSession:
    """The newest frame of a session, the same as it was last displayed in a view, and the view's people."""

    newest: LabelFrame
    displayed: LabelFrame
    people: Mapping[int, BlendedPerson]


class PlayoutView:
    """Shows people of any sessions at its own rate; see `PlayoutBuffer.view`.

    Attributes:
        ahead_s: how long it takes from asking to displaying; what is displayed later than live does not hurry.
    """

    def __init__(self, playout: PlayoutBuffer, labels_at: LabelsAt) -> None:
        self._playout, self._labels_at = playout, labels_at
        self.ahead_s = 0.0
        # `forget` comes from the event loop.
        self._lock = threading.Lock()
        self._sessions: dict[int, _ViewedSession] = {}

    def frame(self, number: int, only: int | None = None) -> LabelFrame | None:
        """The people of a session's newest frame as they are displayed now, with this moment as the time of capture.

        The same object as before when nothing has changed; None if the session is not played out.

        Args:
            only: identity of the one who is displayed; everybody without it.
        """
        with self._lock:
            return self._frame(number, only)

    def _frame(self, number: int, only: int | None) -> LabelFrame | None:
        moment = self._playout.moment(number)
        if moment is None:
            return None
        newest, tracks, now_s = moment
        # When labels stay away everything has come to rest.
        at_s = min(now_s + (self.ahead_s if self._playout.live else 0.0), newest.describes_s + STILL_S)
        before = self._sessions.get(number)
        if before is not None and newest is before.newest and at_s <= before.displayed.captured_at:
            return before.displayed
        had = {} if before is None else before.people
        seen = [person for person in newest.people if only in (None, person.identity)]
        has = {person.identity: had.get(person.identity) or BlendedPerson(self._labels_at) for person in seen}
        people = tuple(_with(person, has[person.identity].pose(tracks[person.identity], at_s)) for person in seen)
        displayed = replace(newest, captured_at=at_s, people=people, ahead_steps=0)
        self._sessions[number] = _ViewedSession(newest, displayed, has)
        return displayed

    def forget(self, number: int) -> None:
        """A session has ended."""
        with self._lock:
            self._sessions.pop(number, None)


def _with(person: PersonLabels, labels: FloatArray) -> PersonLabels:
    """The person with the groups of what somebody does from labels (LABEL_SIZE,)."""
    slices = group_slices()
    moving = {
        name: labels[slices[name]]
        for name in FAST_GROUPS
        # A face may still be displayed that the newest frame has not.
        if name in person.labels or (name in OPTIONAL_GROUPS and labels[slices[name]].any())
    }
    return replace(person, labels={**person.labels, **moving})
