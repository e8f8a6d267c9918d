"""The facade over heartbeats, liveness, clock offset and packet trains."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.blobs import Blob
from common.clock import Clock
from common.io.tasks import cancel
from common.wire.convert import Chunk, ChunkAck, Heartbeat, decode_client
from common.wire.traffic import MESSAGE_HEADER_BYTES
from sender.congestion.pacing import Meter
from sender.link.background_transfer import BackgroundTransfer
from sender.link.connector import StandbyConnection
from sender.link.keepalive import Keepalive
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.path import End, stream_pair
from tests.support.link.scripted_receiver import RecordingObserver


class Fixture:
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
async def fixture() -> AsyncIterator[Fixture]:
    fixture = Fixture()
    yield fixture
    await cancel(fixture.tasks)


async def test_second_heartbeat_reports_the_clock_offset(fixture: Fixture) -> None:
    first = await fixture.heartbeat()
    assert first.clock_error_ns == 0
    fixture.answer(first, 1_002_000_000_000)
    second = await fixture.heartbeat()
    assert abs(second.clock_offset_ns - 2_000_000_000) <= second.clock_error_ns
    assert second.clock_error_ns >= 1


async def test_loss_is_reported_and_an_answer_recovers_the_stream(fixture: Fixture) -> None:
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


async def test_frames_that_wait_leave_in_place_of_heartbeats_until_the_clocks_have_to_be_compared(
    fixture: Fixture,
) -> None:
    for _ in range(2):
        fixture.answer(await fixture.heartbeat(), 1_000_000_000_000)
    fixture.frame_waits = True
    async with asyncio.timeout(5):
        await fixture.heartbeat()
    assert fixture.frames_let_go > 10


async def test_waiting_blobs_take_the_place_of_padding(fixture: Fixture) -> None:
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


async def test_a_train_has_the_same_bytes_with_blobs_as_without(fixture: Fixture) -> None:
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
