"""A second connection, opened while the first is silent: after an outage it is usable first.

TCP retransmits after 0.3 s of silence, 0.9 s, 2.1 s…: the old connection notices the end of an outage up to as long
again after it as the outage lasted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from sender.link.transport.handshake import Closable

T = TypeVar("T", bound=Closable)


class StandbyConnection(Generic[T]):
    """At most one connection that is not in use yet (`reach`: opens a connection, however long it takes)."""

    def __init__(self, reach: Callable[[], Awaitable[T]]) -> None:
        self._reach = reach
        self._opening: asyncio.Future[T] | None = None

    def seek(self) -> None:
        """Starts to open a connection, unless one is open or being opened."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._reach())

    @property
    def is_open(self) -> bool:
        return self._done and self._opening is not None and self._opening.exception() is None

    @property
    def failed(self) -> bool:
        return self._done and not self.is_open

    @property
    def _done(self) -> bool:
        return self._opening is not None and self._opening.done() and not self._opening.cancelled()

    async def wait(self, timeout_s: float) -> None:
        """Waits for this time, or until the connection that is being opened is open."""
        if self._opening is None or self._done:
            await asyncio.sleep(timeout_s)
        else:
            await asyncio.wait([self._opening], timeout=timeout_s)

    async def take(self) -> T:
        """Waits for the connection and hands it over; the next call opens another one.

        Raises:
            StreamBroken: the peer's machine refuses the connection.
        """
        if self.failed:
            await self.dismiss()  # an earlier failure does not matter now
        self.seek()
        assert self._opening is not None
        try:
            return await self._opening
        finally:
            self._opening = None

    async def dismiss(self) -> None:
        """Closes the connection, or stops opening it."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            # `gather` keeps the cancellation of the opening apart from one of the caller, which must not be lost.
            (stream,) = await asyncio.gather(opening, return_exceptions=True)
            if not isinstance(stream, BaseException):
                with suppress(Exception):
                    await stream.close()
