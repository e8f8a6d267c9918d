"""A silent stream is suspected first, then reported as lost, and ends when a standby connection is open."""

import asyncio
from contextlib import suppress

import pytest

from common.wire.stream import StreamBroken
from sender.link.connector import StandbyConnection
from sender.link.keepalive import Liveness, Patience


class Connection:
    closed = False

    async def close(self) -> None:
        self.closed = True


class Fixture:
    """A `Liveness` with heartbeats every 4 ms, five of which may be missed."""

    def __init__(self, *, lossy: bool = False) -> None:
        self.reports: list[str] = []
        self.attempts: list[asyncio.Future[Connection]] = []
        self.patience = Patience(0.004)
        self.liveness = Liveness(
            0.004,
            StandbyConnection(self._reach),
            self.patience,
            on_lost=self.reports.append,
            on_recovered=lambda: self.reports.append("recovered"),
            lossy=lossy,
        )
        self.liveness.on_answer(50.0, 100.0)
        self.watching = asyncio.create_task(self.liveness.watch())

    async def _reach(self) -> Connection:
        self.attempts.append(asyncio.get_running_loop().create_future())
        return await self.attempts[-1]

    async def until_sought(self) -> None:
        async with asyncio.timeout(10):
            while not self.attempts:
                await asyncio.sleep(0.001)

    async def until_reported(self, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while len(self.reports) < count or not self.attempts:
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        self.watching.cancel()
        with suppress(asyncio.CancelledError):
            await self.watching


async def test_silence_opens_a_standby_connection_and_reports_loss() -> None:
    fixture = Fixture()
    await fixture.until_sought()
    await fixture.until_reported()
    assert fixture.reports == ["no message from the receiver (DEADLINE_EXCEEDED)"]
    assert len(fixture.attempts) == 1
    assert not fixture.watching.done()
    await fixture.end()


async def test_answer_cancels_the_standby_connection_and_reports_recovery() -> None:
    fixture = Fixture()
    await fixture.until_reported()
    fixture.liveness.on_answer(150.0, 200.0)
    await fixture.until_reported(2)
    assert fixture.reports[1] == "recovered"
    assert fixture.attempts[0].cancelled()
    await fixture.end()


async def test_silent_stream_ends_when_standby_connection_is_open() -> None:
    fixture = Fixture()
    await fixture.until_reported()
    fixture.attempts[0].set_result(Connection())
    with pytest.raises(StreamBroken, match="another connection to the receiver is open"):
        await fixture.watching


async def test_answer_within_grace_period_keeps_the_stream() -> None:
    fixture = Fixture()
    await fixture.until_reported()
    connection = Connection()
    fixture.attempts[0].set_result(connection)
    await asyncio.sleep(0)
    fixture.liveness.on_answer(150.0, 200.0)
    await fixture.until_reported(2)
    assert fixture.reports[1] == "recovered"
    assert connection.closed
    await fixture.end()


async def test_answer_sent_before_the_silence_does_not_count() -> None:
    fixture = Fixture()
    await fixture.until_reported()
    fixture.liveness.on_answer(99.0, 200.0)
    fixture.liveness.on_answer(None, 200.0)
    fixture.attempts[0].set_result(Connection())
    with pytest.raises(StreamBroken, match="another connection to the receiver is open"):
        await fixture.watching
    assert len(fixture.reports) == 1


async def test_any_answer_counts_where_nothing_is_sent_again() -> None:
    fixture = Fixture(lossy=True)
    await fixture.until_reported()
    fixture.liveness.on_answer(99.0, 200.0)
    await fixture.until_reported(2)
    assert fixture.reports[1] == "recovered"
    await fixture.end()


async def test_late_answer_does_not_delay_the_report_of_loss() -> None:
    fixture, suspected = Fixture(), False
    while not fixture.reports:
        await asyncio.sleep(0.001)
        if fixture.liveness._suspected and not fixture.reports:
            suspected = True
            fixture.liveness.on_answer(99.0, 200.0)
    assert suspected
    assert fixture.reports == ["no message from the receiver (DEADLINE_EXCEEDED)"]
    await fixture.end()


async def test_refused_standby_connection_ends_the_stream() -> None:
    fixture = Fixture()
    await fixture.until_sought()
    fixture.attempts[0].set_exception(StreamBroken("UNAVAILABLE", "connection refused"))
    with pytest.raises(StreamBroken, match="no message"):
        await fixture.watching


async def test_silence_is_borne_for_longer_where_round_trips_are_long() -> None:
    usual, slow = Fixture(), Fixture()
    slow.patience.answered(0.04, 100.0)
    await usual.until_reported()
    # A fifth of the silence that it bears.
    assert not slow.attempts and not slow.reports
    await slow.until_reported()
    for fixture in (usual, slow):
        await fixture.end()


def test_patience_follows_the_longest_round_trip_of_the_last_seconds() -> None:
    patience = Patience(0.2)
    patience.answered(0.06, 100.0)
    assert patience.factor == 1.0
    patience.answered(0.8, 101.0)
    patience.answered(0.06, 102.0)
    assert patience.factor == 2.0
    patience.answered(0.06, 107.0)
    assert patience.factor == 1.0
    patience.answered(30.0, 108.0)
    assert patience.factor == 5.0
