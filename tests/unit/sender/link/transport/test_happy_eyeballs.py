"""Attempts that are begun beside each other: one is taken, none is left open."""

import asyncio

import pytest

from sender.link.transport.happy_eyeballs import happy_eyeballs
from tests.support.fake_link import settle


class Door:
    """What an attempt makes."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Attempts:
    """Attempts that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[Door | None]] = []
        self.next = asyncio.Event()

    def begin(self) -> "asyncio.Future[Door | None]":
        self.begun.append(asyncio.get_running_loop().create_future())
        return self.begun[-1]

    async def again(self) -> None:
        await self.next.wait()
        self.next.clear()

    async def another(self) -> None:
        self.next.set()
        await settle()


async def test_an_older_attempt_may_win_and_the_others_are_given_up() -> None:
    attempts, door = Attempts(), Door()
    racing = asyncio.create_task(happy_eyeballs(attempts.begin, attempts.again))
    await settle()
    await attempts.another()
    await attempts.another()
    attempts.begun[1].set_result(door)
    assert await racing is door
    assert [attempt.cancelled() for attempt in attempts.begun] == [True, False, True]
    assert not door.closed


async def test_of_two_that_succeed_at_once_one_is_closed() -> None:
    attempts, doors = Attempts(), [Door(), Door()]
    racing = asyncio.create_task(happy_eyeballs(attempts.begin, attempts.again))
    await settle()
    await attempts.another()
    for attempt, door in zip(attempts.begun, doors, strict=True):
        attempt.set_result(door)
    won = await racing
    assert sorted(door.closed for door in doors) == [False, True]
    assert not won.closed


async def test_attempts_that_come_to_nothing_are_followed_by_others() -> None:
    attempts = Attempts()
    racing = asyncio.create_task(happy_eyeballs(attempts.begin, attempts.again))
    await settle()
    attempts.begun[0].set_result(None)
    await attempts.another()
    attempts.begun[1].set_result(Door())
    await racing
    assert len(attempts.begun) == 2


async def test_an_attempt_that_fails_ends_the_race() -> None:
    attempts = Attempts()
    racing = asyncio.create_task(happy_eyeballs(attempts.begin, attempts.again))
    await settle()
    await attempts.another()
    attempts.begun[1].set_exception(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        await racing
    assert attempts.begun[0].cancelled()


async def test_a_race_that_is_given_up_gives_up_its_attempts() -> None:
    attempts = Attempts()
    racing = asyncio.create_task(happy_eyeballs(attempts.begin, attempts.again))
    await settle()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert attempts.begun[0].cancelled()
