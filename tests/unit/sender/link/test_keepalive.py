"""The clock offset from round trips lies within its error bound for any network and clocks."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.blobs import Blob
from common.clock import Clock
from common.io.tasks import cancel
from common.wire.convert import Chunk, ChunkAck, Heartbeat, decode_client
from common.wire.stream import StreamBroken
from common.wire.traffic import MESSAGE_HEADER_BYTES
from sender.congestion.pacing import Meter
from sender.link.background_transfer import BackgroundTransfer
from sender.link.connector import StandbyConnection
from sender.link.keepalive import ClockComparison, HeartbeatSchedule, Keepalive, Liveness, Patience
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.path import End, stream_pair
from tests.support.link.scripted_receiver import RecordingObserver

EPOCH_S = 1.8e9


class Network:
    """Two clocks and a network between them, simulated with a heartbeat every 200 ms.

    Args:
        offset_s: the receiver's clock minus the sender's at the beginning.
        drift: change of the offset, seconds per second.
        forward_ms, return_ms: minimum one-way delays; exponentially distributed queueing delays are added.
    """

    def __init__(self, offset_s: float, drift: float = 0.0, forward_ms: float = 20.0, return_ms: float = 20.0) -> None:
        self.offset_s, self.drift, self.forward_ms, self.return_ms = offset_s, drift, forward_ms, return_ms
        self.queue_ms = 0.0
        self.random = random.Random(5)
        self.now_s = 0.0
        self.epoch_s = EPOCH_S
        self.clocks = ClockComparison(Clock(lambda: self.now_s, lambda: self.epoch_s + self.now_s))

    def true_offset_s(self) -> float:
        return self.offset_s + self.drift * self.now_s

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.2)):
            self.now_s += 0.2
            forward_s, return_s = (
                (minimum_ms + (self.random.expovariate(1 / self.queue_ms) if self.queue_ms else 0.0)) / 1e3
                for minimum_ms in (self.forward_ms, self.return_ms)
            )
            sent_ns = self.clocks.heartbeat().sent_ns
            self.now_s += forward_s
            received_s = self.epoch_s + self.now_s + self.true_offset_s()
            self.now_s += return_s
            self.clocks.update(Heartbeat(sent_ns, int(received_s * 1e9)))

    def error_s(self) -> tuple[float, float]:
        """The true error of the estimate, and its error bound."""
        estimate = self.clocks.heartbeat()
        return abs(estimate.clock_offset_ns / 1e9 - self.true_offset_s()), estimate.clock_error_ns / 1e9


def test_one_round_trip_bounds_the_offset_by_its_half() -> None:
    for offset_s in (0.0, -3.5, 1000.0, -1e6):
        network = Network(offset_s)
        network.run(0.2)
        error_s, bound_s = network.error_s()
        assert error_s < 1e-5
        assert bound_s == pytest.approx(0.020, abs=1e-3)


@settings(deadline=None, max_examples=15)
@given(
    offset_s=st.floats(-2000, 2000),
    drift=st.floats(-100e-6, 100e-6),
    forward_ms=st.floats(0.1, 300),
    return_ms=st.floats(0.1, 300),
    queue_ms=st.floats(0, 200),
)
def test_offset_is_within_its_bound(
    offset_s: float, drift: float, forward_ms: float, return_ms: float, queue_ms: float
) -> None:
    network = Network(offset_s, drift, forward_ms, return_ms)
    network.queue_ms = queue_ms
    for seconds in (1.0, 20.0, 100.0):
        network.run(seconds)
        error_s, bound_s = network.error_s()
        assert error_s <= bound_s + 1e-6


def test_queueing_delays_are_tolerated() -> None:
    network = Network(1000.0)
    network.queue_ms = 150.0
    network.run(30.0)
    error_s, bound_s = network.error_s()
    # The shortest of 120 round trips was hardly queued: the bound is near half of the 40 ms without queues.
    assert bound_s < 0.06
    assert error_s < 0.04


def test_step_of_the_receivers_clock_is_detected_at_once() -> None:
    network = Network(0.0)
    network.run(60.0)
    network.offset_s = 5.0
    network.run(0.4)
    error_s, _ = network.error_s()
    assert error_s < 0.001


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
@pytest.mark.parametrize("one_machine", [True, False])
def test_step_of_our_clock_leaves_the_error_small(step_s: float, one_machine: bool) -> None:
    network = Network(0.0, forward_ms=0.2, return_ms=0.2)
    network.run(20.0)
    network.epoch_s += step_s
    network.offset_s -= 0.0 if one_machine else step_s
    network.run(1.0)
    error_s, bound_s = network.error_s()
    assert error_s <= bound_s < 0.005


INTERVAL_S = 0.2


def _heartbeats(
    events: list[tuple[float, str]], seconds: float, *, lossy: bool = False, round_trip_s: float = 0.0
) -> list[float]:
    """Times of heartbeats, polled every 10 ms between events; echoes are events too."""
    patience = Patience(INTERVAL_S)
    patience.answered(round_trip_s, 0.0)
    schedule = HeartbeatSchedule(INTERVAL_S, 5 * INTERVAL_S, patience, lossy=lossy)
    sent_s, pending = list[float](), sorted(events)
    for tick in range(int(seconds * 100)):
        now_s = tick / 100
        while pending and pending[0][0] <= now_s:
            at_s, name = pending.pop(0)
            getattr(schedule, name)(*([] if name == "frame_answered" else [at_s]))
        if schedule.due(now_s):
            schedule.heartbeat_sent(now_s)
            sent_s.append(now_s)
    return sent_s


def test_heartbeats_of_an_idle_a_busy_and_a_silent_link() -> None:
    idle = [(at / 100 + 0.001, "echo_received") for at in range(0, 500, 5)]
    assert len(_heartbeats(idle, 5.0)) in range(22, 27), "one an interval"
    busy = [(at / 30, name) for at in range(150) for name in ("frame_sent", "message_received", "frame_answered")]
    assert len(_heartbeats([*busy, *[(at + 0.1, "echo_received") for at in range(5)]], 5.0)) in range(4, 7), (
        "one a second"
    )
    assert _heartbeats([], 4.95) == [0.0]


def test_clocks_are_compared_less_often_over_a_slow_link() -> None:
    busy = [(at / 30, name) for at in range(300) for name in ("frame_sent", "message_received", "frame_answered")]
    echoes = [(at / 10, "echo_received") for at in range(100)]
    usual, slow = (len(_heartbeats([*busy, *echoes], 10.0, round_trip_s=time_s)) for time_s in (0.05, 2.0))
    assert usual in range(9, 12) and slow == 2


def test_a_frame_serves_where_no_answer_is_owed_and_the_clocks_were_compared() -> None:
    schedule = HeartbeatSchedule(INTERVAL_S, 5 * INTERVAL_S, Patience(INTERVAL_S))
    assert schedule.due(0.0) and not schedule.frame_serves(0.0), "the clocks were never compared"
    schedule.heartbeat_sent(0.0)
    schedule.echo_received(0.1)
    silent_s = 0.1 + INTERVAL_S
    assert schedule.due(silent_s) and schedule.frame_serves(silent_s)
    schedule.frame_sent(silent_s)
    assert schedule.due(silent_s + 3.9 * INTERVAL_S) and not schedule.frame_serves(silent_s + 3.9 * INTERVAL_S)
    schedule.frame_answered()
    assert schedule.due(6 * INTERVAL_S) and not schedule.frame_serves(6 * INTERVAL_S), "they have to be compared again"


def test_unanswered_frame_is_followed_by_one_late_heartbeat() -> None:
    events = [(at / 100 + 0.001, "echo_received") for at in range(0, 100, 5)] + [(1.0, "frame_sent")]
    probes = [at for at in _heartbeats(events, 4.0) if at > 1.0]
    assert len(probes) == 1
    assert 1.7 < probes[0] < 1.8


def test_heartbeat_that_may_be_lost_is_repeated_before_the_receiver_is_given_up() -> None:
    idle = [(at / 100 + 0.001, "echo_received") for at in range(0, 100, 5)]
    last, *repeated = [at for at in _heartbeats(idle, 2.0, lossy=True) if at > 0.95]
    # Five intervals without an answer mean that the receiver is lost.
    assert repeated[0] - last < 2.5 * INTERVAL_S and len(repeated) == 2
    assert len([at for at in _heartbeats(idle, 2.0) if at > 0.95]) == 1
    # Where a round trip takes a second, so does an echo.
    late = [at for at in _heartbeats(idle, 2.5, lossy=True, round_trip_s=1.0) if at > 0.95]
    assert len(late) == 2 and late[1] - late[0] > 0.95


def test_silence_after_a_lost_heartbeat_is_probed() -> None:
    # The heartbeat of second 1 is lost with all that follows; an earlier acknowledgement arrives just after it.
    events = [(at / 100 + 0.001, "echo_received") for at in range(0, 100, 5)] + [
        (1.02, "message_received"),
        (1.03, "frame_sent"),
    ]
    assert any(1.8 < at < 1.85 for at in _heartbeats(events, 1.9))


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
    usual = [(0.06, 100.0, 1.0), (0.8, 101.0, 2.0), (0.06, 102.0, 2.0), (0.06, 107.0, 1.0), (30.0, 108.0, 5.0)]
    # Even the shortest is long, first because of distance alone; the last one shows that the link is fast again.
    far, thin, fast = [(0.8, 114.0, 2.0)], [(2.7, 115.0, 8.0), (0.5, 116.0, 8.0)], [(0.06, 116.1, 5.0)]
    for round_trip_s, now_s, factor in (*usual, *far, *thin, *fast):
        patience.answered(round_trip_s, now_s)
        assert patience.factor == factor


class KeepaliveFixture:
    """A keepalive with heartbeats every 4 ms, and the receiver's end of its stream."""

    def __init__(self) -> None:
        self.observer = RecordingObserver()
        client, self.end = stream_pair()
        self._never = asyncio.Event()
        self.background = BackgroundTransfer(ConstantPacer(0))
        self.frame_waits, self.frames_let_go = False, 0
        self.keepalive = Keepalive(
            0.004,
            1.0,
            StandbyConnection(self._reach),
            self.observer,
            Clock(asyncio.get_running_loop().time, lambda: 1000.0),
            self.background,
            self._let_frame_go,
            Meter(),
            5000.0,
        )
        self.keepalive.restart(lossy=False)
        self.tasks = [asyncio.ensure_future(work) for work in self.keepalive.run(client)]

    async def _reach(self) -> End:
        await self._never.wait()
        raise AssertionError

    def _let_frame_go(self) -> bool:
        self.frames_let_go += self.frame_waits
        return self.frame_waits

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
async def fixture() -> AsyncIterator[KeepaliveFixture]:
    fixture = KeepaliveFixture()
    yield fixture
    await cancel(fixture.tasks)


async def test_second_heartbeat_reports_the_clock_offset(fixture: KeepaliveFixture) -> None:
    first = await fixture.heartbeat()
    assert first.clock_error_ns == 0
    fixture.answer(first, 1_002_000_000_000)
    second = await fixture.heartbeat()
    assert abs(second.clock_offset_ns - 2_000_000_000) <= second.clock_error_ns
    assert second.clock_error_ns >= 1


async def test_loss_is_reported_and_an_answer_recovers_the_stream(fixture: KeepaliveFixture) -> None:
    heartbeat = await fixture.heartbeat()
    fixture.answer(heartbeat, 1_000_000_000_000)
    async with asyncio.timeout(10):
        while not fixture.observer.losses:
            await asyncio.sleep(0.001)
        assert fixture.observer.losses == ["no message from the receiver (DEADLINE_EXCEEDED)"]
        fixture.keepalive.on_message()
        # Answers a frame that was sent after the last message.
        fixture.keepalive.on_acknowledgement(asyncio.get_running_loop().time())
        while not fixture.observer.connections:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("steps", range(6))
async def test_cancel_while_the_first_echo_arrives_ends_every_task(fixture: KeepaliveFixture, steps: int) -> None:
    heartbeat = await fixture.heartbeat()
    fixture.answer(heartbeat, 1_000_000_000_000)
    # The echo wakes the heartbeat task within a few steps of the loop; a cancellation in between must not be lost.
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in fixture.tasks:
        task.cancel()
    _, running = await asyncio.wait(fixture.tasks, timeout=1)
    assert not running


async def test_frames_that_wait_leave_in_place_of_heartbeats_until_the_clocks_have_to_be_compared(
    fixture: KeepaliveFixture,
) -> None:
    for _ in range(2):
        fixture.answer(await fixture.heartbeat(), 1_000_000_000_000)
    fixture.frame_waits = True
    async with asyncio.timeout(5):
        await fixture.heartbeat()
    assert fixture.frames_let_go > 10


async def test_waiting_blobs_take_the_place_of_padding(fixture: KeepaliveFixture) -> None:
    fixture.background.post(Blob("colours", 0, bytes(10_000)))
    data_bytes = padding_bytes = 0
    while not data_bytes:
        fixture.keepalive.on_frame_sent(80)
        data = await fixture.end.read()
        assert data is not None
        message = decode_client(data)
        if isinstance(message, Heartbeat):
            # The first train is too short for this link, and for a chunk.
            fixture.answer(message, received_ns=10**18)
            padding_bytes += len(message.padding)
        else:
            assert isinstance(message, Chunk)
            data_bytes += len(message.data)
    assert data_bytes > 100
    assert padding_bytes < 100


async def test_a_train_has_the_same_bytes_with_blobs_as_without(fixture: KeepaliveFixture) -> None:
    for waiting_bytes in (0, 300, 10_000):
        if waiting_bytes:
            fixture.background.post(Blob("colours", 0, bytes(waiting_bytes)))
        train = list(fixture.keepalive._packet_train((40, 235, 940), 0.0))
        messages = [message for message, _ in train]
        decoded = [decode_client(message) for message in messages]
        assert [droppable for _, droppable in train] == [isinstance(message, Heartbeat) for message in decoded]
        assert sum(isinstance(message, Heartbeat) for message in decoded) == 3
        chunks = [message for message in decoded if isinstance(message, Chunk)]
        assert len(chunks) == (2 if waiting_bytes else 0)
        for chunk in chunks:
            fixture.background.received(ChunkAck(chunk.blob, chunk.offset + len(chunk.data)))
        headers_bytes = MESSAGE_HEADER_BYTES * (len(messages) - 3)
        assert sum(map(len, messages)) + headers_bytes == pytest.approx(40 + 235 + 940, abs=12)
