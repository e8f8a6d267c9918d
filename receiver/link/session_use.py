"""Which stream uses a session: one at a time; a newer stream takes the session over from an older one."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from common.wire.stream import StreamBroken

Evict = Callable[[StreamBroken], None]
"""Makes a stream release its session as soon as it can, and end for the given reason."""


class Claim(Enum):
    """Answer to a stream that wants to use a session."""

    GRANTED = auto()
    SUPERSEDED = auto()  # a newer stream asked before it was granted
    CLOSED = auto()  # the session has ended


class SessionUse:
    """The stream that uses a session, and the newest one that waits for it."""

    def __init__(self) -> None:
        self._evict: Evict | None = None
        self._next: tuple[Evict, asyncio.Future[Claim]] | None = None
        self._released = asyncio.Event()
        self._released.set()
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether a stream uses the session now."""
        return self._evict is not None

    async def claim(self, evict: Evict) -> Claim:
        """Waits until the present stream has finished its frame, and takes the session over.

        Args:
            evict: called when the session is to be released again.
        """
        if self._closed:
            return Claim.CLOSED
        if self._evict is None:
            self._grant(evict)
            return Claim.GRANTED
        self._refuse_next(Claim.SUPERSEDED)
        turn: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        self._next = evict, turn
        self._evict(StreamBroken("ABORTED", "the session continues on another stream"))
        try:
            return await turn
        except asyncio.CancelledError:
            if self._next is not None and self._next[1] is turn:
                self._next = None
            elif not turn.cancelled() and turn.result() is Claim.GRANTED:
                self.release()
            raise

    def release(self) -> None:
        """Ends the use by the present stream; the one that waits is next."""
        self._evict = None
        waiting, self._next = self._next, None
        if waiting is not None and not waiting[1].done():
            self._grant(waiting[0])
            waiting[1].set_result(Claim.GRANTED)
        else:
            self._released.set()

    async def close(self, reason: StreamBroken) -> None:
        """Refuses every further claim, ends the present stream, and waits until it has finished its frame."""
        self._closed = True
        self._refuse_next(Claim.CLOSED)
        if self._evict is not None:
            self._evict(reason)
        await self._released.wait()

    def _grant(self, evict: Evict) -> None:
        self._evict = evict
        self._released.clear()

    def _refuse_next(self, answer: Claim) -> None:
        waiting, self._next = self._next, None
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(answer)
