"""A second connection, sought while the first is silent: when the network is back, it is the first to know.

TCP asks again after 0.3 s of silence, 0.9 s, 2.1 s…: on the connection that went through an outage, up to as much time
again passes before its end is noticed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from sender.link.transport.happy_eyeballs import Closable

T = TypeVar("T", bound=Closable)


class StandbyConnection(Generic[T]):
    """At most one connection that nobody uses yet.

    Args:
        reach: makes one, however long it takes.
    """

    def __init__(self, reach: Callable[[], Awaitable[T]]) -> None:
        self._reach = reach
        self._reaching: asyncio.Future[T] | None = None

    def seek(self) -> None:
        """Begins to make a connection, unless that was begun before."""
        if self._reaching is None:
            self._reaching = asyncio.ensure_future(self._reach())

    @property
    def stands(self) -> bool:
        """Whether there is a connection."""
        return self._done and self._reaching is not None and self._reaching.exception() is None

    @property
    def failed(self) -> bool:
        """Whether none could be made."""
        return self._done and not self.stands

    @property
    def _done(self) -> bool:
        return self._reaching is not None and self._reaching.done() and not self._reaching.cancelled()

    async def wait(self, timeout_s: float) -> None:
        """Returns after a while, or as soon as a connection that is sought stands."""
        if self._reaching is None or self._done:
            await asyncio.sleep(timeout_s)
        else:
            await asyncio.wait([self._reaching], timeout=timeout_s)

    async def take(self) -> T:
        """The connection, as soon as it stands; the next one is another.

        Raises:
            StreamBroken: the peer's machine answers, but nobody there takes connections.
        """
        if self.failed:
            await self.dismiss()  # why it failed some time ago is of no interest now
        self.seek()
        assert self._reaching is not None
        try:
            return await self._reaching
        finally:
            self._reaching = None

    async def dismiss(self) -> None:
        """Gives the connection up, or the search for it."""
        reaching, self._reaching = self._reaching, None
        if reaching is not None:
            reaching.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await (await reaching).close()
