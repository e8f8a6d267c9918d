"""Beginning and end of sessions: one session object per id, whatever streams, expiry and stopping do at the same time.

Hello ─→ ending? opening? wait ─→ known? owner ─→ room? ─→ registry ─→ handler.on_session ─→ claim
drain, expiry, eviction, stop ─→ registry ─→ no further claims, present frame ─→ handler.on_session_end
"""

import asyncio
import logging
from collections.abc import Callable

from common.clock import Clock
from common.connections import BeginRate
from common.io.logs import RepeatedLines
from common.wire.convert import Hello
from common.wire.stream import StreamBroken
from receiver.link.auth.authenticator import PeerIdentity
from receiver.link.refusals import NotOwner, OwnSender, Refusal, SessionOwner, StreamRefused
from receiver.link.session import FrameHandler, Session, SessionLimits

logger = logging.getLogger(__name__)

_EXPIRY_INTERVAL_S = 10.0
# Time after the last message of a sender without a stream, until which its session can be resumed.
_KEEP_S = 300.0
# Of an account, after a burst of as many as it may have: each leaves a line on the disk for good.
_NEW_SESSIONS_PER_S = 1.0


class SessionLifecycle:
    """Finds, begins and ends sessions; the handler sees each begin once and end once.

    Args:
        admit_live: raises StreamRefused if there is no computing time for another live session.
    """

    def __init__(
        self,
        handler: FrameHandler,
        limits: SessionLimits,
        clock: Clock,
        admit_live: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions: dict[bytes, Session] = {}
        self._handler = handler
        self._limits = limits
        self._admit_live = admit_live
        self._rate = BeginRate(_NEW_SESSIONS_PER_S, limits.per_account, clock)
        self._clock = clock
        self._lines = RepeatedLines(logger, clock)
        self._opening: dict[bytes, asyncio.Task[Session]] = {}
        self._ending: dict[bytes, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def sessions(self) -> list[Session]:
        """All sessions, in the order in which they began."""
        return list(self._sessions.values())

    async def open(self, hello: Hello, identity: PeerIdentity) -> tuple[Session, bool]:
        """Finds or begins the session of a Hello; the stream has to claim it.

        Returns:
            The session, and whether it was known.

        Raises:
            StreamRefused: the session belongs to another sender, there are too many sessions, or there is no computing
                time for another live one.
            StreamBroken: the receiver is stopping.
        """
        owner = SessionOwner.from_secret(identity.subject, hello.session_secret)
        while True:
            if self._closed:
                raise StreamBroken("UNAVAILABLE", "the receiver is stopping")
            self._end_expired()
            pending = self._opening.get(hello.session_id) or self._ending.get(hello.session_id)
            if pending is None:
                break
            await asyncio.wait([pending])
        session = self._sessions.get(hello.session_id)
        if session is not None:
            _check(session, hello, owner)
            session.last_message_s = self._clock.monotonic()
            return session, True
        # Not cancelled with the stream: the handler must not be left with half a session.
        return await asyncio.shield(self._begin(hello, owner, identity)), False

    async def end(self, session: Session) -> None:
        """Ends a session that its sender has drained, unless another stream has claimed it."""
        if self._sessions.get(session.session_id) is session and not session.in_use:
            await asyncio.wait([self._end(session, StreamBroken("ABORTED", "the sender ended the session"))])

    async def end_own(self, sender: OwnSender) -> None:
        """Ends the sessions of a process of the receiver."""
        for session in [each for each in self.sessions if each.own is sender]:
            opening = self._opening.get(session.session_id)
            if opening is not None:
                await asyncio.wait([opening])
            if self._sessions.get(session.session_id) is session:
                await asyncio.wait([self._end(session, StreamBroken("ABORTED", "the sender process has ended"))])
            elif session.session_id in self._ending:
                await asyncio.wait([self._ending[session.session_id]])

    async def expire(self) -> None:
        """Ends the sessions of senders that do not come back, until cancelled."""
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            self._end_expired()

    async def close(self) -> None:
        """Ends every session after its present frame, and begins no further one."""
        self._closed = True
        while self._opening:
            await asyncio.wait(self._opening.values())
        for session in self.sessions:
            self._end(session, StreamBroken("UNAVAILABLE", "the receiver is stopping"))
        while self._ending:
            await asyncio.wait(self._ending.values())

    def _begin(self, hello: Hello, owner: SessionOwner, identity: PeerIdentity) -> "asyncio.Task[Session]":
        now_s, sessions, account, own = self._clock.monotonic(), self.sessions, identity.account, identity.own
        session = Session(
            hello.session_id,
            # The name that an own one gives would be this machine's.
            hello.sender if own is None else own.name,
            hello.live,
            last_message_s=now_s,
            owner=owner,
            account=account,
            durable=hello.durable,
            timely=hello.timely,
            own=own,
        )
        if session.live:
            # Before another session would end for this one.
            self._admit_live()
        settled = [each for each in sessions if each.session_id not in self._opening]
        victim = self._limits.victim(account, sessions, settled, now_s)
        if not self._rate.take(account):
            raise StreamRefused(Refusal.FULL, f"full for now: {account} begins more than one session a second")
        evicted = None
        if victim is not None:
            line = f"a session of {victim.account} ({victim.sender}) ends: the receiver is full"
            self._lines.write(logging.WARNING, victim.account, line)
            reason = "full for now: the session yields to that of a sender with fewer"
            evicted = self._end(victim, StreamRefused(Refusal.FULL, reason))
        self._sessions[session.session_id] = session
        task = asyncio.create_task(self._open_at_handler(session, evicted), name="link session begin")
        task.add_done_callback(_retrieve)
        self._opening[session.session_id] = task
        return task

    async def _open_at_handler(self, session: Session, evicted: "asyncio.Task[None] | None") -> Session:
        try:
            if evicted is not None:
                await asyncio.wait([evicted])
            session.handled_before(await self._handler.on_session(session))
        except BaseException:
            self._sessions.pop(session.session_id, None)
            raise
        finally:
            del self._opening[session.session_id]
        return session

    def _end_expired(self) -> None:
        now_s = self._clock.monotonic()
        for session in self.sessions:
            gone = not session.in_use and now_s - session.last_message_s > _KEEP_S
            if gone and session.session_id not in self._opening:
                self._end(session, StreamBroken("ABORTED", "the session has expired"))

    def _end(self, session: Session, reason: StreamBroken) -> "asyncio.Task[None]":
        self._sessions.pop(session.session_id, None)
        task = asyncio.create_task(self._close(session, reason), name="link session end")
        self._ending[session.session_id] = task
        return task

    async def _close(self, session: Session, reason: StreamBroken) -> None:
        try:
            await session.close(reason)
            await self._handler.on_session_end(session)
        except Exception as error:
            logger.error("the session of %s did not end in good order: %s", session.sender, error)
        finally:
            del self._ending[session.session_id]


def _check(session: Session, hello: Hello, owner: SessionOwner) -> None:
    """Checks a Hello against the session whose id it has.

    Raises:
        StreamRefused: the sender is not the session's, or wants another kind of session.
    """
    if not session.owner.admits(owner):
        whose = session.owner.subject or session.account
        raise NotOwner(f"session {session.session_id.hex()[:8]} belongs to {whose} ({session.sender})")
    if (session.durable, session.live) != (hello.durable, hello.live):
        raise StreamRefused(Refusal.MALFORMED, "a session stays live or not, and durable or not")


def _retrieve(task: "asyncio.Task[Session]") -> None:
    """Marks the exception of a task as retrieved: the stream that would raise it may have ended."""
    if not task.cancelled():
        task.exception()
