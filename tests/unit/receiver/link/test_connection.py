"""Answers leave at once, with the next one, or after a while, and in order."""

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator

import pytest

from common.blobs import Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from common.io.logs import RepeatedLines
from common.wire.convert import (
    NO_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ChunkAck,
    ClientMessage,
    Drain,
    FrameMessage,
    Heartbeat,
    Hello,
    ServerMessages,
    Welcome,
)
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import SenderReport
from common.wire.stream import StreamBroken
from common.wire.traffic import HEARTBEATS, PROBING
from receiver.link import connection
from receiver.link.connection import WINDOW, Acknowledger, Connection, ReceivedMessage, ReceiveQueue
from receiver.link.session import Arrival, Claim, RateLimits, SenderClock, Session
from tests.support.link.counting_codec import MODEL, SECRET, SESSION, label_frame, new_session, settle
from tests.support.link.path import stream_pair
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_sender import ScriptedSender


def frame(sequence: int) -> FrameMessage:
    return FrameMessage(sequence, b"packet")


async def test_messages_leave_in_order_with_their_times() -> None:
    now_s, wall_s = iter((5.0, 5.5, 5.5, 6.0)), iter((2.0, 2.5003, 2.4997, 9.0))
    queue = ReceiveQueue(8, Clock(lambda: next(now_s), lambda: next(wall_s)))
    for sequence in range(4):
        queue.put(frame(sequence))
    queue.finish()
    taken = [await queue.take() for _ in range(5)]
    assert taken.pop() is None
    # The wall clock counts on from the first arrival, unless it was stepped.
    assert [a and (a.arrival.at_s, a.received_us, a.spacing_us) for a in taken] == [
        (5.0, 2_000_000, 0),
        (5.5, 2_500_000, 500_000),
        (5.5, 2_500_001, 1),
        (6.0, 9_000_000, 500_000),
    ]


async def test_frame_is_superseded_by_frames_only_and_not_after_they_are_discarded() -> None:
    queue = ReceiveQueue(8, Clock(lambda: 0.0, lambda: 0.0))
    queue.put(frame(0))
    first = await queue.take()
    assert first is not None
    superseded = first.arrival.superseded
    queue.put(None, "not readable")
    assert not superseded.is_set()
    queue.put(frame(1))
    queue.put(frame(2))
    assert superseded.is_set()
    queue.discard()
    assert not superseded.is_set()
    assert await queue.take() is None


async def test_frame_that_gave_way_supersedes_none() -> None:
    queue = ReceiveQueue(2, Clock(lambda: 0.0, lambda: 0.0), lossy=True)
    for sequence in range(3):
        queue.put(frame(sequence))
    taken = [await queue.take() for _ in range(2)]
    assert [each and each.frame for each in taken] == [frame(1), frame(2)]
    assert taken[1] is not None and not taken[1].arrival.superseded.is_set()


class Fixture:
    """An acknowledger whose clock the test sets, and what the sender reads."""

    def __init__(self, *, lossy: bool = False) -> None:
        self.now_s = 100.0
        self.end, server = stream_pair()
        datagrams = Datagrams() if lossy else None
        if datagrams is not None:
            datagrams.encode(frame(50))
        self.acknowledger = Acknowledger(server, Clock(lambda: self.now_s, lambda: 0.0), datagrams)
        self._received = ServerMessages(datagrams)

    async def answer(
        self,
        sequence: int,
        *,
        may_wait: bool = False,
        status: AckStatus = AckStatus.DECODED,
        reason: str = "",
        spacing_us: int | None = None,
    ) -> None:
        spacing_us = sequence if spacing_us is None else spacing_us
        message = ReceivedMessage(
            FrameMessage(sequence, b"p", may_wait), "", Arrival(100.0), 10**15 + sequence, spacing_us
        )
        await self.acknowledger.answer(message, status, reason)

    async def read(self) -> tuple[Acknowledgement, ...]:
        message = self._received.decode(await self.end.read() or b"")
        assert isinstance(message, Acknowledgements)
        return message.frames

    @property
    def silent(self) -> bool:
        return self.end._inbox.empty()


async def test_answer_leaves_at_once_with_the_time_that_the_frame_was_held() -> None:
    fixture = Fixture()
    fixture.now_s = 100.02
    await fixture.answer(7)
    assert await fixture.read() == (Acknowledgement(7, AckStatus.DECODED, 10**15 + 7, 7, 19_999),)


async def test_answer_that_may_wait_leaves_with_the_next_one() -> None:
    fixture = Fixture()
    await fixture.answer(7, may_wait=True)
    assert fixture.silent
    fixture.now_s = 100.033
    await fixture.answer(9)
    first, second = await fixture.read()
    assert (first.sequence, second.sequence, first.spacing_us) == (7, 9, 7)
    # The wait is part of the time held, so that round trips leave it out.
    assert first.hold_us == pytest.approx(33_000, abs=1)


async def test_message_that_is_no_frame_is_answered_at_once() -> None:
    fixture = Fixture()
    await fixture.answer(7, may_wait=True)
    message = ReceivedMessage(None, "", Arrival(100.0), 10**15, 1)
    await fixture.acknowledger.answer(message, AckStatus.REJECTED, "x" * 9999)
    assert [ack.sequence for ack in await fixture.read()] == [7, NO_SEQUENCE]


async def test_answers_that_may_be_lost_are_repeated() -> None:
    fixture = Fixture(lossy=True)
    for sequence in range(8):
        await fixture.answer(sequence, may_wait=sequence not in (4, 5, 7))
    numbers = [[ack.sequence for ack in await fixture.read()] for _ in range(3)]
    assert numbers == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [5, 6, 7]]


async def test_sender_that_lets_every_answer_wait_gets_them_all() -> None:
    fixture = Fixture()
    for sequence in range(150):
        await fixture.answer(sequence, may_wait=True)
    await fixture.acknowledger.flush()
    assert [len(await fixture.read()) for _ in range(3)] == [64, 64, 22]


async def test_answer_waits_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LONGEST_WAIT_S", 0.001)
    fixture = Fixture()
    running = asyncio.create_task(fixture.acknowledger.run())
    await fixture.answer(7, may_wait=True)
    await settle()
    assert fixture.silent
    fixture.now_s += 0.002
    async with asyncio.timeout(10):
        assert [ack.sequence for ack in await fixture.read()] == [7]
    running.cancel()


async def test_answer_waits_no_longer_because_messages_are_spread_under_way() -> None:
    fixture = Fixture()
    waits_s = []
    for spacing_us in [200_000] * 8 + [600_000] * 8:
        await fixture.answer(7, may_wait=True, spacing_us=spacing_us)
        waits_s.append(fixture.acknowledger._wait_until_s - fixture.now_s)
    assert waits_s == pytest.approx([0.5] * 12 + [1.5] * 4), "they come so from now on"


WELCOME = Welcome(True, MODEL)


class Served(ScriptedSender):
    """A sender, and the connection that serves it."""

    def __init__(
        self,
        session: Session,
        pipeline: RecordingPipeline,
        clock: Clock = SYSTEM_CLOCK,
    ):
        end, self._server = stream_pair()
        super().__init__(end)
        self.session, self.pipeline = session, pipeline
        self.connection = Connection(
            session,
            self._server,
            pipeline,
            limiter=RateLimits(1e9, 1e9, clock).of_stream(session.account),
            lines=RepeatedLines(logging.getLogger(__name__), clock),
            clock=clock,
        )

    async def start(self) -> asyncio.Task[bool]:
        await self.session.claim(self.connection.abandon)
        self.running = asyncio.create_task(self.connection.run(WELCOME))
        assert await self.receive() == WELCOME
        return self.running

    async def write(self, *messages: ClientMessage) -> None:
        await super().write(*messages)
        await settle()

    def stall(self) -> None:
        """Stops reading: what the receiver writes from now on waits for ever."""

        async def write(_: bytes, *, droppable: bool = False) -> None:
            await asyncio.Event().wait()

        self._server.write = write  # type: ignore[method-assign, assignment]


@pytest.fixture
async def sender() -> AsyncIterator[Served]:
    """A sender whose stream runs, and ends with the test in good order, unless the test has ended it."""
    sender = Served(new_session(), RecordingPipeline())
    await sender.start()
    yield sender
    if not sender.running.done():
        sender.pipeline.gate.set()
        await sender.write(Drain())
        assert await sender.running


async def test_echoes_carry_our_time_and_heartbeats_the_senders_clock_offset() -> None:
    session = new_session()
    sender = Served(session, RecordingPipeline(), clock=Clock(time.monotonic, lambda: 77.0))
    running = await sender.start()
    await sender.write(Heartbeat(1234))
    assert await sender.receive() == Heartbeat(1234, received_ns=77_000_000_000)
    assert session.clock is None
    await sender.write(Heartbeat(1235, 0, -2_500_000_000, 4_000_000, b"padding"))
    assert session.clock == SenderClock(-2.5, 0.004)
    counted = session.traffic.by_purpose()
    # A padded heartbeat probes; the other and both answers keep the link alive.
    assert counted[PROBING] > len(b"padding")
    assert counted[HEARTBEATS] > 3 * 8
    assert session.traffic.total_bytes == sum(counted.values())
    await sender.write(Drain())
    await running


def bundle(sender: Served, *sequences: int) -> FrameMessage:
    encoded = sender.codec.encode(*(label_frame(sequence) for sequence in sequences))
    return FrameMessage(sequences[-1], encoded.payload, earlier=sequences[:-1])


async def test_bundle_is_acknowledged_once_and_a_duplicate_when_it_comes_again(sender: Served) -> None:
    frames = bundle(sender, 0, 1, 3)
    await sender.write(frames)
    acknowledged = await sender.receive_ack()
    assert (acknowledged.sequence, acknowledged.status) == (3, AckStatus.DECODED)
    assert sender.session.next_sequence == 4 and sender.session.decodable_from == 3
    await sender.write(frames)
    assert (await sender.receive_ack()).status is AckStatus.DUPLICATE
    # The window counts messages.
    await sender.write(bundle(sender, *range(4, 12)), bundle(sender, *range(12, 20)))
    assert [(await sender.receive_ack()).sequence for _ in range(2)] == [11, 19]
    assert sender.pipeline.done == [0, 1, 3, *range(4, 20)]


async def test_bundle_that_repeats_handled_frames_is_rejected(sender: Served) -> None:
    await sender.send([0])
    await sender.receive_ack()
    sender.codec.reset()
    await sender.write(bundle(sender, 0, 1))
    answer = await sender.receive_ack()
    assert answer.status is AckStatus.REJECTED and "repeats frames that were handled" in answer.reason
    with pytest.raises(StreamBroken, match="a message was rejected: a bundle repeats"):
        await sender.running
    assert sender.session.next_sequence == 1


async def test_nothing_is_handled_behind_a_rejected_message_of_a_complete_session(sender: Served) -> None:
    await sender.send([0])
    assert (await sender.receive_ack()).status is AckStatus.DECODED
    await sender.write(FrameMessage(1, b"garbage"), bundle(sender, 2, 3))
    assert (await sender.receive_ack()).status is AckStatus.REJECTED
    with pytest.raises(StreamBroken, match="a message was rejected: not a counted frame"):
        await sender.running
    assert (sender.pipeline.done, sender.session.next_sequence) == ([0], 1)


async def test_undecodable_messages_of_a_live_session_are_rejected_and_end_the_stream() -> None:
    sender = Served(new_session(live=True), RecordingPipeline())
    await sender.start()
    await sender.write(FrameMessage(0, b"garbage"))
    rejected = await sender.receive_ack()
    assert (rejected.sequence, rejected.status) == (0, AckStatus.REJECTED)
    assert rejected.reason == "not a counted frame"
    await sender.end.write(b"\xff\xff\xff")
    assert (await sender.receive_ack()).sequence == NO_SEQUENCE
    for _ in range(6):
        await sender.write(Hello(SESSION, "again", 1, MODEL, True, session_secret=SECRET))
        assert (await sender.receive_ack()).reason == "a second Hello on one stream"
    with pytest.raises(StreamBroken, match=r"8 frames in a row rejected.*INVALID_ARGUMENT"):
        await sender.running
    assert not sender.session.in_use
    assert sender.pipeline.unused == [None] * 7


async def test_decoded_frame_resets_the_count_of_rejections() -> None:
    sender = Served(new_session(live=True), RecordingPipeline())
    await sender.start()
    for sequence in (0, 2, 4):
        for _ in range(7):
            await sender.write(FrameMessage(sequence, b"garbage"))
            assert (await sender.receive_ack()).status is AckStatus.REJECTED
        await sender.send([sequence + 1])
        assert (await sender.receive_ack()).status is AckStatus.DECODED
    await sender.write(Drain())
    assert await sender.running


async def test_handler_gets_the_arrival_of_a_frame_and_whether_it_is_superseded() -> None:
    pipeline, session = RecordingPipeline(), new_session(live=True)
    sender = Served(session, pipeline, clock=Clock(lambda: 12.5, lambda: 1e9))
    running = await sender.start()
    pipeline.gate.clear()
    await sender.send([0])
    (arrival,) = pipeline.arrivals
    assert arrival.at_s == 12.5 and not arrival.superseded.is_set()
    await sender.end.write(b"\xff\xff\xff")
    await settle()
    assert not arrival.superseded.is_set()
    pipeline.gate.set()
    await sender.receive_ack()
    await sender.receive_ack()
    pipeline.gate.clear()
    await sender.send([1, 2])
    # One frame of a session is handled at a time, however many have arrived.
    assert pipeline.decoded == [0, 1] and pipeline.arrivals[-1].superseded.is_set()
    pipeline.gate.set()
    await sender.receive_ack()
    assert pipeline.decoded == [0, 1, 2] and not pipeline.arrivals[-1].superseded.is_set()
    await sender.receive_ack()
    await sender.write(Drain())
    assert await running


async def test_sender_that_exceeds_the_window_loses_its_stream(sender: Served) -> None:
    sender.pipeline.gate.clear()
    await sender.send(range(WINDOW + 1))
    with pytest.raises(StreamBroken, match="more than 12 unacknowledged"):
        await sender.running
    sender.pipeline.gate.set()


async def test_frame_being_handled_is_finished_before_another_stream_claims_the_session() -> None:
    pipeline, session = RecordingPipeline(), new_session()
    old = Served(session, pipeline)
    running = await old.start()
    pipeline.gate.clear()
    await old.send([0, 1])
    old.end.break_off()
    with pytest.raises(StreamBroken, match="connection reset"):
        await running
    new = Served(session, pipeline)
    beginning = asyncio.create_task(new.start())
    await settle()
    assert not beginning.done()
    pipeline.gate.set()
    running = await beginning
    # Frame 1 had arrived but was not started: the sender sends it again, perhaps encoded differently.
    assert (pipeline.done, session.next_sequence, session.decodable_from) == ([0], 1, 0)
    await new.send([1])
    assert (await new.receive_ack()).status is AckStatus.DECODED
    await new.write(Drain())
    assert await running


async def test_session_is_released_by_a_sender_that_does_not_read() -> None:
    session = new_session()
    old, new = Served(session, RecordingPipeline()), Served(session, RecordingPipeline())
    running = await old.start()
    old.stall()
    await old.send([0, 1])
    assert session.next_sequence == 1
    assert not running.done()
    continued = await new.start()
    with pytest.raises(StreamBroken, match="ABORTED"):
        await running
    await new.write(Drain())
    assert await continued


async def test_stream_evicted_before_it_begins() -> None:
    session = new_session()
    old, second, third = (Served(session, RecordingPipeline()) for _ in range(3))
    abandoned = await old.start()
    claims = [asyncio.create_task(sender.session.claim(sender.connection.abandon)) for sender in (second, third)]
    with pytest.raises(StreamBroken, match="ABORTED"):
        await abandoned
    assert [await claim for claim in claims] == [Claim.SUPERSEDED, Claim.GRANTED]
    third.connection.abandon(StreamBroken("RESOURCE_EXHAUSTED", "full for now"))
    with pytest.raises(StreamBroken, match="full for now"):
        await third.connection.run(WELCOME)
    assert not session.in_use


async def test_drain_finishes_and_acknowledges_frames_that_have_arrived(sender: Served) -> None:
    sender.pipeline.gate.clear()
    await sender.send([0, 1])
    sender.connection.drain()
    await settle()
    sender.pipeline.gate.set()
    assert [(await sender.receive_ack()).sequence, (await sender.receive_ack()).sequence] == [0, 1]
    assert await sender.receive() == Drain()
    assert not await sender.running


async def test_stream_of_a_silent_sender_ends() -> None:
    sender = Served(new_session(), RecordingPipeline())
    running = await sender.start()
    with pytest.raises(StreamBroken, match="no message in"):
        await running
    assert not sender.session.in_use


async def test_blobs_are_delivered_and_heartbeats_echoed_during_reconstruction() -> None:
    pipeline = RecordingPipeline()
    pipeline.gate.clear()
    sender = Served(new_session(), pipeline)
    running = await sender.start()
    await sender.send([0])
    await sender.write(Chunk(1, 0, b"abc", "colours", 2, 3, zlib.crc32(b"abc")))
    assert await sender.receive() == ChunkAck(1, 3)
    assert pipeline.blobs == [Blob("colours", 2, b"abc")]
    await sender.write(Heartbeat(1234))
    echo = await sender.receive()
    assert isinstance(echo, Heartbeat) and echo.sent_ns == 1234
    assert pipeline.done == []
    await sender.write(Chunk(2, 0, b"abc", "broken", 2, 3, zlib.crc32(b"abc")))
    assert await sender.receive() == ChunkAck(2, 3)
    pipeline.gate.set()
    assert (await sender.receive_ack()).sequence == 0
    sender.end.break_off()
    with pytest.raises(StreamBroken):
        await running


async def test_pipeline_failure_ends_the_stream_with_its_reason(sender: Served) -> None:
    sender.pipeline.failure = OutputError("disk full")
    await sender.send([0])
    with pytest.raises(StreamBroken, match=r"cannot write its output \(INTERNAL\)"):
        await sender.running
    assert sender.session.next_sequence == 0


async def test_newest_report_of_the_sender_is_kept(sender: Served) -> None:
    assert sender.session.report is None
    newest = SenderReport(2_000_000, 7.0, {"perception": 21.0})
    await sender.write(SenderReport(1_000_000), newest)
    assert sender.session.report == newest
