"""Who may begin a session: shares are fair between accounts, also when the receiver is full."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from common.clock import Clock
from receiver.link.refusals import Refusal, StreamRefused
from receiver.link.session import Session

# A sender whose stream broke comes back within this time, unless it is gone.
_RETURN_S = 15.0
# After a burst of as many sessions as an account may have.
_NEW_SESSIONS_PER_S = 1.0
_MAX_ACCOUNTS = 1024
# An account yields a session only to one that has this many fewer: otherwise the two would take it from each other.
_FAIR_DIFFERENCE = 2


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
            raise StreamRefused(
                Refusal.FULL, f"full for now: {account} has {own} sessions, as many as one sender may have"
            )
        if len(sessions) < self.total:
            return None
        gone = [session for session in settled if _is_gone(session, account, now_s)]
        if gone:
            return min(gone, key=lambda session: (-counts[session.account], session.last_message_s))
        most = max((counts[session.account] for session in settled), default=0)
        if most < own + _FAIR_DIFFERENCE:
            raise StreamRefused(Refusal.FULL, f"full for now: the receiver has {len(sessions)} sessions")
        largest = [session for session in settled if counts[session.account] == most]
        idle = [session for session in largest if not session.in_use]
        return min(idle, key=_last_message_s) if idle else largest[-1]


class SessionRate:
    """Limits how often each account begins a session: each one leaves a line on the disk for good.

    Args:
        burst: sessions that an account may begin at once.
    """

    def __init__(self, burst: int, clock: Clock) -> None:
        self._burst, self._clock = burst, clock
        # When the account will have its whole burst again; accounts that have it are left out.
        self._restored_s: dict[str, float] = {}

    def take(self, account: str) -> None:
        """Counts a session that an account begins. Raises StreamRefused if it begins sessions too often."""
        now_s = self._clock.monotonic()
        if len(self._restored_s) >= _MAX_ACCOUNTS:
            self._restored_s = {name: at_s for name, at_s in self._restored_s.items() if at_s > now_s}
        restored_s = max(self._restored_s.get(account, now_s), now_s) + 1 / _NEW_SESSIONS_PER_S
        if restored_s - now_s > self._burst / _NEW_SESSIONS_PER_S:
            raise StreamRefused(Refusal.FULL, f"full for now: {account} begins sessions too often")
        self._restored_s[account] = restored_s


def _is_gone(session: Session, account: str, now_s: float) -> bool:
    """Whether a session has no stream, and ends without harm to a sender that is about to come back."""
    return not session.in_use and (session.account == account or now_s - session.last_message_s >= _RETURN_S)


def _last_message_s(session: Session) -> float:
    return session.last_message_s
