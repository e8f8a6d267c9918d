"""How many people per second live sessions need, and whether there is room for one more.

A live camera cannot wait: when the engine is full, its frames are dropped. One session too many would make all of them
slow, so it is refused instead, and its sender tries again later. Sessions that are not live are always accepted: their
frames wait, and come after the live ones.
"""

from collections import deque
from collections.abc import Callable

from common.clock import SYSTEM_CLOCK, Clock
from receiver.link.refusals import Refusal, StreamRefused

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


class _Use:
    """The people of one session over the last seconds."""

    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self._frames: deque[tuple[float, int]] = deque()

    def add(self, people: int, now_s: float) -> None:
        self._frames.append((now_s, people))
        self._forget(now_s)

    def people_per_second(self, now_s: float) -> float | None:
        """None for a session that has just begun."""
        age_s = now_s - self.began_s
        if age_s < _SETTLED_S:
            return None
        self._forget(now_s)
        return sum(people for _, people in self._frames) / min(age_s, _WINDOW_S)

    def _forget(self, now_s: float) -> None:
        while self._frames and self._frames[0][0] < now_s - _WINDOW_S:
            self._frames.popleft()


class _Delays:
    """How many frames of all sessions were delayed in the last seconds."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, bool]] = deque()
        self._delayed = 0

    def add(self, delayed: bool, now_s: float) -> None:
        self._frames.append((now_s, delayed))
        self._delayed += delayed
        self._forget(now_s)

    def share(self, now_s: float) -> float:
        """0 if there was no frame."""
        self._forget(now_s)
        return self._delayed / len(self._frames) if self._frames else 0.0

    def _forget(self, now_s: float) -> None:
        while self._frames and self._frames[0][0] <= now_s - _WINDOW_S:
            self._delayed -= self._frames.popleft()[1]


class LiveLoad:
    """What live sessions use of an engine.

    Args:
        capacity: people per second that the engine can do; None if it is not known, and then nobody is refused.
    """

    def __init__(self, capacity: Callable[[], float | None] = lambda: None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._capacity = capacity
        self._clock = clock
        self._sessions: dict[bytes, _Use] = {}
        self._delays = _Delays()

    @property
    def people_per_second(self) -> float:
        """What all live sessions use.

        One that has just begun counts like the mean of the others, or 15 if all have just begun.
        """
        now_s = self._clock.monotonic()
        rates = [use.people_per_second(now_s) for use in self._sessions.values()]
        known = [rate for rate in rates if rate is not None]
        return len(rates) * (sum(known) / len(known) if known else _ASSUMED_PEOPLE_PER_SECOND)

    @property
    def _settled(self) -> int:
        """How many sessions have a known rate."""
        now_s = self._clock.monotonic()
        return sum(use.people_per_second(now_s) is not None for use in self._sessions.values())

    def admit(self) -> None:
        """Checks that there is room for another live session, which will need as much as the mean of those there are.

        There is none while frames of live sessions are delayed. The first session is always admitted.

        Raises:
            StreamRefused: there is none.
        """
        capacity = self._capacity()
        if capacity is None:
            return
        if capacity == 0:
            raise StreamRefused(Refusal.BUSY, "full for now: the reconstruction pool has no replica")
        delayed = self._delays.share(self._clock.monotonic())
        if self._sessions and delayed > _DELAYED_SHARE:
            raise StreamRefused(
                Refusal.BUSY,
                f"full for now: {delayed:.0%} of the frames of the live sessions that there are wait for too long",
            )
        sessions, used = len(self._sessions), self.people_per_second
        if sessions and used + used / sessions > _USABLE_SHARE * capacity:
            raise StreamRefused(
                Refusal.BUSY,
                f"full for now: {sessions} live sessions use {used:.1f} of the {capacity:.1f} people per second that "
                "the reconstruction pool can do, and one more has no room",
            )
        settled = self._settled
        if sessions - settled >= max(settled, 1) and used + used / sessions > _CAUTIOUS_SHARE * capacity:
            raise StreamRefused(
                Refusal.BUSY, f"full for now: {sessions - settled} live sessions have begun just now, and are measured"
            )

    def began(self, session_id: bytes) -> None:
        """Counts a live session."""
        self._sessions[session_id] = _Use(self._clock.monotonic())

    def received(self, session_id: bytes, people: int) -> None:
        """Counts a frame; one of a session that is not counted is ignored."""
        if session_id in self._sessions:
            self._sessions[session_id].add(people, self._clock.monotonic())

    def waited(self, *, delayed: bool) -> None:
        """A frame of a live session has come out of the engine, or was dropped.

        Args:
            delayed: it had waited so long that the engine must have been full.
        """
        self._delays.add(delayed, self._clock.monotonic())

    def ended(self, session_id: bytes) -> None:
        """Forgets a session."""
        self._sessions.pop(session_id, None)
