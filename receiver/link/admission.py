"""Who may begin a session, and what its stream may send: shares are fair between accounts, also when the receiver is
full.

A live camera cannot wait: when the engine is full, its frames are dropped. One session too many would make all of them
slow, so it is refused instead, and its sender tries again later. Sessions that are not live are always accepted: their
frames wait, and come after the live ones.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from weakref import WeakValueDictionary

from common.clock import SYSTEM_CLOCK, Clock
from common.connections import TokenBucket
from common.io.recent import RecentRate
from common.text import counted
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import Session

# A sender whose stream broke comes back within this time, unless it is gone.
_RETURN_S = 15.0
# An account yields a session only to one that has this many fewer: otherwise the two would take it from each other.
_FAIR_DIFFERENCE = 2
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
# The streams of 64 sessions at 30 frames a second, with their keepalives, stay below this.
_STREAMS_AT_FULL_RATE_PER_HOST = 3


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits on the number of sessions."""

    total: int
    per_account: int

    def victim(
        self, account: str, sessions: Collection[Session], settled: Collection[Session], now_s: float
    ) -> Session | None:
        """The session that ends so that an account may begin another one; None if there is room.

        Sessions without a stream end first, those of the account with the most sessions before others and the longest
        silent first. Then shares are max-min fair: the account with the most sessions yields its youngest one, if it
        has at least two more than the newcomer.

        Args:
            sessions: all sessions, the oldest first.
            settled: those of them that have begun and may end.

        Raises:
            StreamRefused: no session may end.
        """
        counts = Counter(session.account for session in sessions)
        own = counts[account]
        if own >= self.per_account:
            own_idle = [session for session in settled if session.account == account and not session.in_use]
            if own_idle:
                return min(own_idle, key=_last_message_s)
            has = counted(own, "session")
            raise StreamRefused(
                Refusal.FULL, f"full for now: {account} has {has}, as many as one sender may have: end one"
            )
        if len(sessions) < self.total:
            return None
        gone = [session for session in settled if _is_gone(session, account, now_s)]
        if gone:
            return min(gone, key=lambda session: (-counts[session.account], session.last_message_s))
        most = max((counts[session.account] for session in settled), default=0)
        if most < own + _FAIR_DIFFERENCE:
            has = counted(len(sessions), "session")
            reason = f"full for now: the receiver has {has}, as many as its --max-sessions allows"
            raise StreamRefused(Refusal.FULL, reason)
        largest = [session for session in settled if counts[session.account] == most]
        idle = [session for session in largest if not session.in_use]
        return min(idle, key=_last_message_s) if idle else largest[-1]


class RateLimiter:
    """Slows down the reading of one stream (`data`: bytes of the stream)."""

    def __init__(self, data: TokenBucket, *messages: TokenBucket) -> None:
        self._data, self._messages = data, messages

    async def acquire(self, size: int) -> None:
        """Waits until a message of this many bytes may be taken."""
        wait_s = max(self._data.take(size), *(bucket.take(1) for bucket in self._messages))
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class RateLimits:
    """Makes the limiter of each stream.

    Messages are limited too, because a small one costs the event loop as much as a large one, and at each address,
    because one sender may open many streams.
    """

    def __init__(self, bytes_per_second: float, messages_per_second: float, clock: Clock) -> None:
        self._bytes, self._messages = bytes_per_second, messages_per_second
        self._clock = clock
        self._hosts: WeakValueDictionary[str, TokenBucket] = WeakValueDictionary()

    def of_stream(self, host: str) -> RateLimiter:
        """The limiter of a new stream from an address, which it shares with the others from there."""
        shared = self._hosts.get(host) or TokenBucket(_STREAMS_AT_FULL_RATE_PER_HOST * self._messages, self._clock)
        self._hosts[host] = shared
        return RateLimiter(TokenBucket(self._bytes, self._clock), TokenBucket(self._messages, self._clock), shared)


def _is_gone(session: Session, account: str, now_s: float) -> bool:
    """Whether a session has no stream, and ends without harm to a sender that is about to come back."""
    return not session.in_use and (session.account == account or now_s - session.last_message_s >= _RETURN_S)


def _last_message_s(session: Session) -> float:
    return session.last_message_s


class _Use:
    """The people of one session over the last seconds."""

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._people = RecentRate(_WINDOW_S)
        self.add(0, now_s)

    def add(self, people: int, now_s: float) -> None:
        self._people.add(people, now_s)

    def people_per_second(self, now_s: float) -> float | None:
        """None for a session that has just begun."""
        return None if now_s - self._began_s < _SETTLED_S else self._people.per_second(now_s)


class LiveLoad:
    """What live sessions use of an engine; nobody is refused while its `capacity`, people per second, is unknown."""

    def __init__(self, capacity: Callable[[], float | None] = lambda: None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._capacity = capacity
        self._clock = clock
        self._sessions: dict[bytes, _Use] = {}
        # 1 for each frame that was delayed, 0 for each other one.
        self._delays = RecentRate(_WINDOW_S)

    @property
    def people_per_second(self) -> float:
        """What all live sessions use; new ones count like the mean of the others, or 15 if there are no others."""
        known = self._known_rates()
        return len(self._sessions) * (sum(known) / len(known) if known else _ASSUMED_PEOPLE_PER_SECOND)

    def _known_rates(self) -> list[float]:
        now_s = self._clock.monotonic()
        rates = (use.people_per_second(now_s) for use in self._sessions.values())
        return [rate for rate in rates if rate is not None]

    def admit(self) -> None:
        """Raises StreamRefused if another session has no room, or live frames are delayed; the first one always has."""
        capacity = self._capacity()
        if capacity is None:
            return
        if capacity == 0:
            raise StreamRefused(Refusal.BUSY, "full for now: the reconstruction pool has no replica")
        delayed = self._delays.mean(self._clock.monotonic()) or 0.0
        if self._sessions and delayed > _DELAYED_SHARE:
            raise StreamRefused(
                Refusal.BUSY,
                f"full for now: {delayed:.0%} of the frames of live sessions wait for too long; give the receiver more "
                "--replicas",
            )
        sessions, used = len(self._sessions), self.people_per_second
        if sessions and used + used / sessions > _USABLE_SHARE * capacity:
            using = counted(sessions, "live session uses", "live sessions use")
            raise StreamRefused(
                Refusal.BUSY,
                f"full for now: {using} {used:.1f} of the {capacity:.1f} people per second that "
                "the reconstruction pool can do, and one more has no room; give the receiver more --replicas",
            )
        settled = len(self._known_rates())
        if sessions - settled >= max(settled, 1) and used + used / sessions > _CAUTIOUS_SHARE * capacity:
            begun = counted(sessions - settled, "live session has begun", "live sessions have begun")
            raise StreamRefused(Refusal.BUSY, f"full for now: {begun} just now, and will be measured first")

    def began(self, session_id: bytes) -> None:
        """Counts a live session."""
        self._sessions[session_id] = _Use(self._clock.monotonic())

    def received(self, session_id: bytes, people: int) -> None:
        """Counts a frame; one of a session that is not counted is ignored."""
        if session_id in self._sessions:
            self._sessions[session_id].add(people, self._clock.monotonic())

    def waited(self, *, delayed: bool) -> None:
        """A frame of a live session was dropped or reconstructed; `delayed` if the engine must have been full."""
        self._delays.add(delayed, self._clock.monotonic())

    def ended(self, session_id: bytes) -> None:
        """Forgets a session."""
        self._sessions.pop(session_id, None)
