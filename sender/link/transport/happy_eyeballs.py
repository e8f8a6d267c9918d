"""Concurrent connection attempts (RFC 8305, "Happy Eyeballs"): the first success is used, the others are closed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar


class Closable(Protocol):
    """A connection."""

    async def close(self) -> None:
        """Ends it."""


T = TypeVar("T", bound=Closable)


async def happy_eyeballs(attempt: Callable[[], Awaitable[T | None]], next_start: Callable[[], Awaitable[None]]) -> T:
    """Starts an attempt, and another one beside it whenever `next_start` returns, until one succeeds.

    Args:
        attempt: one attempt; returns None if it failed and another one may succeed.
        next_start: waits until the next attempt is to be started.

    Raises:
        Exception: the first that an attempt raises.
    """
    attempts: list[asyncio.Future[T | None]] = []
    waiting: asyncio.Future[None] | None = None
    try:
        while True:
            attempts.append(asyncio.ensure_future(attempt()))
            waiting = asyncio.ensure_future(next_start())
            while not waiting.done():
                pending: list[asyncio.Future[Any]] = [waiting, *attempts]
                await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                ended = [future for future in attempts if future.done()]
                attempts = [future for future in attempts if not future.done()]
                winner = await _first_success(ended)
                if winner is not None:
                    return winner
            waiting.result()
    finally:
        left: list[asyncio.Future[Any]] = [*attempts, waiting] if waiting else [*attempts]
        for future in left:
            future.cancel()
        await _close(await asyncio.gather(*left, return_exceptions=True))


async def _first_success(ended: Sequence[asyncio.Future[T | None]]) -> T | None:
    """The first success among attempts that ended at the same time; the others are closed."""
    results = await asyncio.gather(*ended, return_exceptions=True)
    made = [result for result in results if result is not None and not isinstance(result, BaseException)]
    if made:
        await _close(made[1:])
        return made[0]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return None


async def _close(results: Iterable[Closable | BaseException | None]) -> None:
    for result in results:
        if result is not None and not isinstance(result, BaseException):
            await result.close()
