"""One connection from several attempts: the first that stands is taken, and the others end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar


class Closable(Protocol):
    """What an attempt makes."""

    async def close(self) -> None:
        """Ends it."""


T = TypeVar("T", bound=Closable)


async def happy_eyeballs(begin: Callable[[], Awaitable[T | None]], again: Callable[[], Awaitable[None]]) -> T:
    """Begins an attempt, and another beside it whenever `again` returns, until one succeeds; ends all others.

    Args:
        begin: one attempt; returns None if nothing came of it and another may fare better.

    Raises:
        Exception: the first that an attempt raises.
    """
    attempts: list[asyncio.Future[T | None]] = []
    waiting: asyncio.Future[None] | None = None
    try:
        while True:
            attempts.append(asyncio.ensure_future(begin()))
            waiting = asyncio.ensure_future(again())
            while not waiting.done():
                some: list[asyncio.Future[Any]] = [waiting, *attempts]
                await asyncio.wait(some, return_when=asyncio.FIRST_COMPLETED)
                ended = [attempt for attempt in attempts if attempt.done()]
                attempts = [attempt for attempt in attempts if not attempt.done()]
                won = await _first_of(ended)
                if won is not None:
                    return won
            waiting.result()
    finally:
        left: list[asyncio.Future[Any]] = [*attempts, waiting] if waiting else [*attempts]
        for task in left:
            task.cancel()
        await _close(await asyncio.gather(*left, return_exceptions=True))


async def _first_of(ended: Sequence["asyncio.Future[T | None]"]) -> T | None:
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
