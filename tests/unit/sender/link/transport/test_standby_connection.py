"""The standby connection: opened once, taken once, closed when dismissed."""

import asyncio

import pytest

from common.wire.stream import StreamBroken
from sender.link.connector import StandbyConnection
from tests.support.link.counting_codec import settle


class FakeConnection:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Network:
    """Records the attempts to connect; the test sets their results."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[FakeConnection]] = []

    def reach(self) -> asyncio.Future[FakeConnection]:
        self.attempts.append(asyncio.get_running_loop().create_future())
        return self.attempts[-1]


async def test_dismiss_closes_the_connection_or_cancels_the_attempt() -> None:
    network, connection = Network(), FakeConnection()
    standby = StandbyConnection(network.reach)
    await standby.dismiss()
    standby.seek()
    network.attempts[0].set_result(connection)
    await standby.dismiss()
    assert connection.closed
    standby.seek()
    await standby.dismiss()
    assert network.attempts[1].cancelled()
    assert not standby.is_open


async def test_take_after_a_failure_tries_again() -> None:
    network, connection = Network(), FakeConnection()
    standby = StandbyConnection(network.reach)
    standby.seek()
    network.attempts[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    await standby.wait(0.0)
    assert not standby.is_open
    taking = asyncio.create_task(standby.take())
    await settle()
    network.attempts[1].set_result(connection)
    assert await taking is connection


async def test_take_raises_when_the_attempt_fails() -> None:
    network = Network()
    standby = StandbyConnection(network.reach)
    taking = asyncio.create_task(standby.take())
    await settle()
    network.attempts[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    with pytest.raises(StreamBroken, match="refused"):
        await taking


async def test_cancel_while_dismissing_is_not_lost() -> None:
    async def slow_to_stop() -> FakeConnection:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
        raise AssertionError

    standby = StandbyConnection(slow_to_stop)
    standby.seek()
    await asyncio.sleep(0)
    dismissing = asyncio.create_task(standby.dismiss())
    await asyncio.sleep(0)
    dismissing.cancel()
    await asyncio.wait([dismissing], timeout=10)
    assert dismissing.cancelled()
