"""Liveness: silence is doubted first, then told, and ends the stream when another connection stands."""

import asyncio
from contextlib import suppress

import pytest

from common.wire.stream import StreamBroken
from sender.link.keepalive.liveness import Liveness
from sender.link.transport.standby_connection import StandbyConnection


class Door:
    closed = False

    async def close(self) -> None:
        self.closed = True


class Bed:
    """A liveness of heartbeats every 4 ms, five of which may be missed."""

    def __init__(self) -> None:
        self.measurement: list[str] = []
        self.reaching: list[asyncio.Future[Door]] = []
        self.liveness = Liveness(
            0.004,
            5,
            StandbyConnection(self._reach),
            lost=self.measurement.append,
            found=lambda: self.measurement.append("found"),
        )
        self.liveness.heard(50, None, 100)
        self.watching = asyncio.create_task(self.liveness.watch())

    async def _reach(self) -> Door:
        self.reaching.append(asyncio.get_running_loop().create_future())
        return await self.reaching[-1]

    async def until_sought(self) -> None:
        async with asyncio.timeout(10):
            while not self.reaching:
                await asyncio.sleep(0.001)

    async def until_told(self, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while len(self.measurement) < count:
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        self.watching.cancel()
        with suppress(asyncio.CancelledError):
            await self.watching


async def test_silence_seeks_another_connection_then_tells() -> None:
    bed = Bed()
    await bed.until_sought()
    await bed.until_told()
    assert bed.measurement == ["no message from the receiver (DEADLINE_EXCEEDED)"]
    assert len(bed.reaching) == 1
    assert not bed.watching.done()
    await bed.end()


async def test_a_sign_of_life_ends_the_search_and_takes_back_what_was_told() -> None:
    bed = Bed()
    await bed.until_told()
    bed.liveness.heard(150, None, 200)
    await bed.until_told(2)
    assert bed.measurement[1] == "found"
    assert bed.reaching[0].cancelled()
    await bed.end()


async def test_a_stream_that_stays_silent_is_given_up_for_a_connection_that_stands() -> None:
    bed = Bed()
    await bed.until_told()
    bed.reaching[0].set_result(Door())
    with pytest.raises(StreamBroken, match="another connection to the receiver stands"):
        await bed.watching


async def test_an_answer_that_comes_with_the_other_connection_keeps_the_stream() -> None:
    bed = Bed()
    await bed.until_told()
    door = Door()
    bed.reaching[0].set_result(door)
    await asyncio.sleep(0)
    bed.liveness.heard(150, None, 200)
    await bed.until_told(2)
    assert bed.measurement[1] == "found"
    assert door.closed
    await bed.end()


async def test_what_was_said_before_the_silence_is_no_sign_of_life() -> None:
    bed = Bed()
    await bed.until_told()
    bed.liveness.heard(99, 100, 200)
    bed.reaching[0].set_result(Door())
    with pytest.raises(StreamBroken, match="another connection to the receiver stands"):
        await bed.watching
    assert len(bed.measurement) == 1


async def test_what_the_receiver_said_into_the_silence_is_a_sign_of_life_whatever_it_answers() -> None:
    # Heartbeats every 4 ms: in doubt from 8 ms on.
    bed = Bed()
    await bed.until_told()
    bed.liveness.heard(99, 100 + 8_000_001, 21_000_000)
    await bed.until_told(2)
    assert bed.measurement[1] == "found"
    await bed.end()


async def test_old_news_does_not_put_off_that_the_receiver_counts_as_lost() -> None:
    bed, in_doubt = Bed(), False
    while not bed.measurement:
        await asyncio.sleep(0.001)
        if bed.liveness._doubted and not bed.measurement:
            in_doubt = True
            bed.liveness.heard(99, 100, 200)
    assert in_doubt
    assert bed.measurement == ["no message from the receiver (DEADLINE_EXCEEDED)"]
    await bed.end()


async def test_before_there_is_doubt_everything_is_a_sign_of_life() -> None:
    bed = Bed()
    for now_ns in range(200, 260):
        bed.liveness.heard(0, None, now_ns)
        await asyncio.sleep(0.001)
    assert bed.measurement == []
    await bed.end()


async def test_a_machine_that_answers_without_a_receiver_ends_the_stream() -> None:
    bed = Bed()
    await bed.until_sought()
    bed.reaching[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    with pytest.raises(StreamBroken, match="no message"):
        await bed.watching


async def test_a_lost_stream_is_told_once() -> None:
    bed = Bed()
    bed.liveness.lose("cut")
    await bed.until_sought()
    bed.liveness.lose("no message")
    assert bed.measurement == ["cut"]
    bed.liveness.begin()
    bed.liveness.lose("cut again")
    assert bed.measurement == ["cut", "cut again"]
    await bed.end()
