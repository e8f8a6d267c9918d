"""The facade over heartbeats, liveness, clock offset and packet trains."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from common.clock import Clock
from common.wire.convert import Heartbeat, decode_client
from sender.link.keepalive.keepalive import Keepalive
from sender.link.transport.standby_connection import StandbyConnection
from tests.support.fake_link import FakeEnd, fake_link
from tests.support.scripted_receiver import WELCOME, RecordingObserver, ack


class Observer(RecordingObserver):
    def __init__(self) -> None:
        super().__init__()
        self.one_way_delays_ms: list[float] = []

    def one_way_delay(self, one_way_ms: float) -> None:
        self.one_way_delays_ms.append(one_way_ms)


class Fixture:
    """A keepalive with heartbeats every 4 ms, and the receiver's end of its stream."""

    def __init__(self) -> None:
        self.observer = Observer()
        client, self.end = fake_link()
        self._never = asyncio.Event()
        self.keepalive = Keepalive(
            0.004, StandbyConnection(self._reach), self.observer, Clock(time.monotonic, lambda: 1000.0)
        )
        self.keepalive.restart(WELCOME)
        self.tasks = [asyncio.ensure_future(work) for work in self.keepalive.run(client)]

    async def _reach(self) -> FakeEnd:
        await self._never.wait()
        raise AssertionError

    async def heartbeat(self) -> Heartbeat:
        data = await self.end.read()
        assert data is not None
        message = decode_client(data)
        assert isinstance(message, Heartbeat)
        return message

    def answer(self, heartbeat: Heartbeat, received_ns: int) -> None:
        self.keepalive.on_message()
        self.keepalive.on_echo(Heartbeat(heartbeat.sent_ns, received_ns))


@pytest.fixture
async def fixture() -> AsyncIterator[Fixture]:
    fixture = Fixture()
    yield fixture
    for task in fixture.tasks:
        task.cancel()
    await asyncio.gather(*fixture.tasks, return_exceptions=True)


async def test_second_heartbeat_reports_the_clock_offset(fixture: Fixture) -> None:
    first = await fixture.heartbeat()
    assert first.clock_error_ns == 0
    fixture.answer(first, 1_002_000_000_000)
    second = await fixture.heartbeat()
    assert second.clock_offset_ns == 2_000_000_000
    assert second.clock_error_ns >= 1
    assert fixture.observer.one_way_delays_ms == [2000.0]


async def test_loss_is_reported_and_an_answer_recovers_the_stream(fixture: Fixture) -> None:
    heartbeat = await fixture.heartbeat()
    fixture.answer(heartbeat, 1_000_000_000_000)
    async with asyncio.timeout(10):
        while not fixture.observer.losses:
            await asyncio.sleep(0.001)
        assert fixture.observer.losses == ["no message from the receiver (DEADLINE_EXCEEDED)"]
        fixture.keepalive.on_message()
        # Answers a frame that was sent after the last message.
        fixture.keepalive.on_acknowledgement(ack(0), 2_000_000_000_000)
        while not fixture.observer.connections:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("steps", range(6))
async def test_cancel_while_the_first_echo_arrives_ends_every_task(fixture: Fixture, steps: int) -> None:
    heartbeat = await fixture.heartbeat()
    fixture.answer(heartbeat, 1_000_000_000_000)
    # The echo wakes the heartbeat task within a few steps of the loop; a cancellation in between must not be lost.
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in fixture.tasks:
        task.cancel()
    _, running = await asyncio.wait(fixture.tasks, timeout=1)
    assert not running
