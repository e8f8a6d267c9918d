"""What is displayed of a person: what the labels say about a moment, without a jump when others arrive.

A label that arrives changes what is expected. The difference between what was displayed last and what is expected of
that moment now decays within `CORRECTION_S`, by a cubic that begins with its value and speed and ends with neither:
velocities go on.

The playout buffer: labels arrive when they can, and views show people at their own rate.

    decoder ─ PlayoutBuffer (labels of everybody, when they arrive) ─ PlayoutView (a moment, without jumps) ─ VMC, page

Labels arrive in the event loop; views may be those of other threads.

Only sessions of live cameras are played out: of a file or a replay every frame is displayed.
"""

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.frames import LabelFrame, PersonLabels
from common.labels import FAST_GROUPS, LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from common.motion.label_track import (
    AT_REST_S,
    Continued,
    LabelsAt,
    LabelTrack,
    MotionPredictor,
    interpolated,
    with_frame,
)
from common.motion.steps import SLOW, between, moved
from receiver.config import PlayoutConfig
from receiver.link.session import SenderClock, Session
from receiver.publish.observer import SessionObserver

CORRECTION_S: Final = 0.075
STILL_S: Final = AT_REST_S + CORRECTION_S
"""So long after the newest label nothing moves any more."""
_DIFFERENCE_S: Final = 2e-3  # velocities are differences over this time
# A display's pictures are at most so far apart; before, a moment that did not pass was displayed.
_LONGEST_SINCE_S: Final = 1 / 30


class BlendedPerson:
    """One person in one view; time may not go back."""

    def __init__(self, labels_at: LabelsAt) -> None:
        self._labels_at = labels_at
        self._track: LabelTrack | None = None
        self._since_s = self._displayed_s = -math.inf
        self._error = self._error_speed = np.zeros(LABEL_SIZE)

    def pose(self, track: LabelTrack, at_s: float) -> FloatArray:
        """The labels (LABEL_SIZE,) that are displayed at a moment on the sender's clock."""
        labels = self._labels_at(track, at_s)
        if self._track is None or track.began_s != self._track.began_s:
            self._since_s = -math.inf
        elif track is not self._track:
            self._correct(self._track, track, max(self._displayed_s, at_s - _LONGEST_SINCE_S))
        self._track, self._displayed_s = track, at_s
        return labels if at_s >= self._since_s + CORRECTION_S else moved(labels, self._left(at_s)[0])

    def _correct(self, before: LabelTrack, track: LabelTrack, at_s: float) -> None:
        """Begins with the difference from what was displayed of other labels at a moment."""
        soon_s = at_s + _DIFFERENCE_S
        left, left_speed = self._left(at_s)
        labels, was = self._labels_at(track, at_s), self._labels_at(before, at_s)
        apart = between(labels, was), between(self._labels_at(track, soon_s), self._labels_at(before, soon_s))
        error_speed = left_speed + (apart[1] - apart[0]) / _DIFFERENCE_S
        error = between(labels, moved(was, left))
        error[SLOW] = error_speed[SLOW] = 0.0
        self._error, self._error_speed, self._since_s = error, error_speed, at_s

    def _left(self, at_s: float) -> tuple[Float64Array, Float64Array]:
        """What is left of the difference, and its speed: a cubic to zero."""
        share = min((at_s - self._since_s) / CORRECTION_S, 1.0)
        rest = 1 - share
        left = rest * rest * ((1 + 2 * share) * self._error + share * CORRECTION_S * self._error_speed)
        speed = -6 * share * rest / CORRECTION_S * self._error + rest * (1 - 3 * share) * self._error_speed
        return left, speed


_WINDOW_S, _MOST_ARRIVALS = 5.0, 256
# Less sure clocks say less than the arrival of the frames.
_MOST_ERROR_S: Final = 0.1
# Frames that are older than this by a clock say that it was set, and has not been compared again.
_OLDEST_S: Final = 60.0
# Time on the screen may pass so much faster or slower; more is seen. Beyond a leap it jumps: a clock was set.
_SLEW, _LEAP_S = 0.1, 1.0
# Of the waits for the next label, the share that the delay of smooth playout covers, and its bound.
_COVERED_PERCENT, _LONGEST_DELAY_S = 95.0, 1.0


class PlayoutClock:
    """Takes when frames arrive, on this machine's clock, and gives the time on the sender's clock.

    Args:
        delayed: whether the moment is early enough to lie between two labels most of the time.
    """

    def __init__(self, *, delayed: bool) -> None:
        self._delayed = delayed
        # Arrival, age at arrival, and that of the frame before at this time; the ages include the clocks' offset.
        self._arrivals: deque[tuple[float, float, float]] = deque(maxlen=_MOST_ARRIVALS)
        self._behind_s: float | None = None
        self._asked_s = 0.0

    def arrived(self, captured_s: float, before_s: float | None, now_s: float) -> None:
        """A frame has arrived; `before_s` is when the newest one before was captured."""
        age_s = now_s - captured_s
        self._arrivals.append((now_s, age_s, age_s if before_s is None else now_s - before_s))
        while abs(now_s - self._arrivals[0][0]) > _WINDOW_S:
            self._arrivals.popleft()

    def delay_s(self, clock: SenderClock | None) -> float:
        """How much later than live a moment is displayed."""
        if not self._delayed or not self._arrivals:
            return 0.0
        waits_s = [wait_s for _, _, wait_s in self._arrivals]
        return min(float(np.percentile(waits_s, _COVERED_PERCENT)) - self._offset_s(clock), _LONGEST_DELAY_S)

    def at(self, now_s: float, clock: SenderClock | None) -> float:
        """The moment that is displayed now, on the sender's clock; it passes evenly."""
        target_s = self._offset_s(clock) + self.delay_s(clock)
        behind_s = target_s if self._behind_s is None else self._behind_s
        room_s = _SLEW * max(now_s - self._asked_s, 0.0)
        if abs(target_s - behind_s) < _LEAP_S:
            target_s = min(max(target_s, behind_s - room_s), behind_s + room_s)
        self._behind_s, self._asked_s = target_s, now_s
        return now_s - target_s

    def _offset_s(self, clock: SenderClock | None) -> float:
        """This machine's clock minus the sender's: what the link has measured, or the age of the fastest frame."""
        fastest_s = min((age_s for _, age_s, _ in self._arrivals), default=0.0)
        if clock is None or clock.error_s > _MOST_ERROR_S or fastest_s - clock.offset_s > _OLDEST_S:
            return fastest_s
        # Nothing arrives before it was captured.
        return min(clock.offset_s, fastest_s)


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
