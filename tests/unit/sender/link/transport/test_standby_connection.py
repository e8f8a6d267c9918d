"""A second connection: sought once, taken by one, closed when nobody needs it."""

import asyncio

import pytest

from common.wire.stream import StreamBroken
from sender.link.transport.standby_connection import StandbyConnection
from tests.support.fake_link import settle
from tests.unit.sender.link.transport.test_happy_eyeballs import Door


class Network:
    """Counts who tries to reach it."""

    def __init__(self) -> None:
        self.reaching: list[asyncio.Future[Door]] = []

    def reach(self) -> "asyncio.Future[Door]":
        self.reaching.append(asyncio.get_running_loop().create_future())
        return self.reaching[-1]


async def test_what_was_sought_is_taken_when_it_stands() -> None:
    network, door = Network(), Door()
    standby = StandbyConnection(network.reach)
    standby.seek()
    standby.seek()
    assert not standby.stands
    network.reaching[0].set_result(door)
    assert standby.stands
    assert await standby.take() is door
    assert not standby.stands
    assert len(network.reaching) == 1


async def test_dismissed_it_is_closed_or_no_longer_sought() -> None:
    network, door = Network(), Door()
    standby = StandbyConnection(network.reach)
    await standby.dismiss()
    standby.seek()
    network.reaching[0].set_result(door)
    await standby.dismiss()
    assert door.closed
    standby.seek()
    await standby.dismiss()
    assert network.reaching[1].cancelled()
    assert not standby.stands


async def test_a_search_that_failed_is_begun_anew_when_it_is_needed() -> None:
    network, door = Network(), Door()
    standby = StandbyConnection(network.reach)
    standby.seek()
    network.reaching[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    await standby.wait(0.0)
    assert not standby.stands
    taking = asyncio.create_task(standby.take())
    await settle()
    network.reaching[1].set_result(door)
    assert await taking is door


async def test_who_waits_for_it_hears_that_it_failed() -> None:
    network = Network()
    standby = StandbyConnection(network.reach)
    taking = asyncio.create_task(standby.take())
    await settle()
    network.reaching[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    with pytest.raises(StreamBroken, match="refused"):
        await taking


async def test_wait_ends_as_soon_as_it_stands() -> None:
    network = Network()
    standby = StandbyConnection(network.reach)
    standby.seek()
    waiting = asyncio.create_task(standby.wait(60.0))
    await settle()
    network.reaching[0].set_result(Door())
    async with asyncio.timeout(10):
        await waiting
