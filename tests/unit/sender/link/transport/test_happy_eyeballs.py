"""Concurrent connection attempts: one connection is used, none is left open."""

import asyncio

import pytest

from sender.link.transport.happy_eyeballs import happy_eyeballs
from tests.support.fake_link import settle


class FakeConnection:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Attempts:
    """Attempts whose results the test sets."""

    def __init__(self) -> None:
        self.started: list[asyncio.Future[FakeConnection | None]] = []
        self._next = asyncio.Event()

    def attempt(self) -> asyncio.Future[FakeConnection | None]:
        self.started.append(asyncio.get_running_loop().create_future())
        return self.started[-1]

    async def next_start(self) -> None:
        await self._next.wait()
        self._next.clear()

    async def start_another(self) -> None:
        self._next.set()
        await settle()


async def test_older_attempt_may_win_and_the_others_are_cancelled() -> None:
    attempts, connection = Attempts(), FakeConnection()
    running = asyncio.create_task(happy_eyeballs(attempts.attempt, attempts.next_start))
    await settle()
    await attempts.start_another()
    await attempts.start_another()
    attempts.started[1].set_result(connection)
    assert await running is connection
    assert [attempt.cancelled() for attempt in attempts.started] == [True, False, True]
    assert not connection.closed


async def test_second_of_two_simultaneous_successes_is_closed() -> None:
    attempts, connections = Attempts(), [FakeConnection(), FakeConnection()]
    running = asyncio.create_task(happy_eyeballs(attempts.attempt, attempts.next_start))
    await settle()
    await attempts.start_another()
    for attempt, connection in zip(attempts.started, connections, strict=True):
        attempt.set_result(connection)
    winner = await running
    assert sorted(connection.closed for connection in connections) == [False, True]
    assert not winner.closed


async def test_failed_attempt_is_followed_by_another() -> None:
    attempts = Attempts()
    running = asyncio.create_task(happy_eyeballs(attempts.attempt, attempts.next_start))
    await settle()
    attempts.started[0].set_result(None)
    await attempts.start_another()
    attempts.started[1].set_result(FakeConnection())
    await running
    assert len(attempts.started) == 2


async def test_attempt_that_raises_ends_all() -> None:
    attempts = Attempts()
    running = asyncio.create_task(happy_eyeballs(attempts.attempt, attempts.next_start))
    await settle()
    await attempts.start_another()
    attempts.started[1].set_exception(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        await running
    assert attempts.started[0].cancelled()


async def test_cancellation_cancels_all_attempts() -> None:
    attempts = Attempts()
    running = asyncio.create_task(happy_eyeballs(attempts.attempt, attempts.next_start))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert attempts.started[0].cancelled()
