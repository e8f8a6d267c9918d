import asyncio
import time
import zlib
from collections.abc import Sequence

import pytest

from common.blobs import Blob
from common.clock import Clock
from common.errors import MalformedPacket, OutputError
from common.wire.convert import (
    NO_SEQUENCE,
    Acknowledgement,
    AckStatus,
    Chunk,
    ChunkAck,
    ClientMessage,
    Drain,
    FrameMessage,
    Heartbeat,
    Hello,
    ServerMessage,
    Welcome,
    decode_server,
    encode_client,
)
from common.wire.stream import StreamBroken
from receiver.link.connection import Connection
from receiver.link.session import SenderClock, Session
from tests.support.fake_link import MODEL, SESSION, CountingCodec, fake_link, label_frame, settle

WELCOME = Welcome(True, MODEL)


class Pipeline:
    """Decodes, then waits at `gate` as a reconstruction would."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun: list[int] = []
        self.done: list[int] = []
        self.unused: list[int | None] = []
        self.blobs: list[Blob] = []
        self.failure: Exception | None = None

    async def on_session(self, session: Session) -> None: ...

    async def on_frame(self, session: Session, frame: FrameMessage) -> None:
        self.begun.append(frame.sequence)
        session.decode(frame)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.done.append(frame.sequence)

    def on_blob(self, session: Session, blob: Blob) -> None:
        if blob.kind == "broken":
            raise MalformedPacket("no such thing")
        self.blobs.append(blob)

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        self.unused.append(None if frame is None else frame.sequence)

    async def on_session_end(self, session: Session) -> None: ...


class Stream:
    """One connection of a session with the sender played by hand."""

    def __init__(self, session: Session, pipeline: Pipeline, *, silence_s: float = 60.0, clock: Clock | None = None):
        self.end, server = fake_link()
        self.connection = Connection(
            session,
            server,
            pipeline,
            window=2,
            rejections=3,
            silence_s=silence_s,
            clock=clock or Clock(time.monotonic, time.time),
        )
        self.session = session
        self.codec = CountingCodec()

    async def begin(self) -> "asyncio.Task[bool]":
        await self.session.claim(self.connection.abandon)
        running = asyncio.create_task(self.connection.run(WELCOME))
        assert await self.hear() == WELCOME
        return running

    async def hear(self) -> ServerMessage:
        data = await self.end.read()
        assert data is not None
        return decode_server(data)

    async def hear_ack(self) -> Acknowledgement:
        message = await self.hear()
        assert isinstance(message, Acknowledgement)
        return message

    async def say(self, *messages: ClientMessage) -> None:
        for message in messages:
            await self.end.write(encode_client(message))
        await settle()

    async def send(self, sequences: Sequence[int]) -> None:
        await self.say(*(self.frame(sequence) for sequence in sequences))

    def frame(self, sequence: int) -> FrameMessage:
        encoded = self.codec.encode(label_frame(sequence))
        return FrameMessage(sequence, encoded.payload, 5, 7, encoded.key)


def new_session() -> Session:
    return Session(SESSION, "test", False, CountingCodec())


async def test_frames_are_handled_in_order_and_acknowledged_when_handled() -> None:
    pipeline, session = Pipeline(), new_session()
    stream = Stream(session, pipeline)
    running = await stream.begin()
    pipeline.gate.clear()
    await stream.send([0, 1])
    assert (pipeline.begun, session.next_sequence) == ([0], 0)
    pipeline.gate.set()
    first, second = await stream.hear_ack(), await stream.hear_ack()
    assert [first.sequence, second.sequence] == [0, 1]
    assert first.status is second.status is AckStatus.DECODED
    assert (first.client_sent_ns, first.decodable_from, first.arrival_spacing_ns) == (7, 0, 0)
    assert second.arrival_spacing_ns > 0
    assert first.received_bytes == len(encode_client(FrameMessage(0, bytes(20), 5, 7, True)))
    assert session.next_sequence == 2
    await stream.say(Drain())
    assert await running


async def test_echoes_tell_our_time_and_heartbeats_the_senders_clock() -> None:
    session = new_session()
    stream = Stream(session, Pipeline(), clock=Clock(time.monotonic, lambda: 77.0))
    running = await stream.begin()
    await stream.say(Heartbeat(1234))
    assert await stream.hear() == Heartbeat(1234, received_ns=77_000_000_000)
    assert session.clock is None
    await stream.say(Heartbeat(1235, 0, -2_500_000_000, 4_000_000, b"padding"))
    assert session.clock == SenderClock(-2.5, 0.004)
    await stream.say(Drain())
    await running


async def test_heartbeats_are_echoed_while_a_frame_is_in_reconstruction() -> None:
    pipeline = Pipeline()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    pipeline.gate.clear()
    await stream.send([0])
    await stream.say(Heartbeat(1234))
    echo = await stream.hear()
    assert isinstance(echo, Heartbeat)
    assert echo.sent_ns == 1234
    pipeline.gate.set()
    assert (await stream.hear_ack()).sequence == 0
    await stream.say(Drain())
    assert await running


async def test_frame_that_was_handled_is_a_duplicate() -> None:
    pipeline = Pipeline()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    frame = stream.frame(0)
    await stream.say(frame)
    await stream.hear_ack()
    await stream.say(frame)
    assert (await stream.hear_ack()).status is AckStatus.DUPLICATE
    assert (pipeline.done, pipeline.unused) == ([0], [0])
    await stream.say(Drain())
    assert await running


async def test_garbage_is_rejected_with_a_key_wanted_and_enough_of_it_ends_the_stream() -> None:
    pipeline = Pipeline()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    await stream.say(FrameMessage(0, b"garbage", 0, 0, True))
    rejected = await stream.hear_ack()
    assert (rejected.sequence, rejected.status, rejected.want_key) == (0, AckStatus.REJECTED, True)
    assert rejected.reason == "not a counted frame"
    await stream.end.write(b"\xff\xff\xff")
    assert (await stream.hear_ack()).sequence == NO_SEQUENCE
    await stream.say(Hello(SESSION, "again", 1, MODEL, True))
    assert (await stream.hear_ack()).reason == "a second greeting in one stream"
    with pytest.raises(StreamBroken, match=r"3 frames in a row rejected.*INVALID_ARGUMENT"):
        await running
    assert not stream.session.held
    assert pipeline.unused == [None, None]


async def test_frame_that_decodes_ends_a_row_of_rejections() -> None:
    stream = Stream(new_session(), Pipeline())
    running = await stream.begin()
    for sequence in (0, 2, 4):
        for _ in range(2):
            await stream.say(FrameMessage(sequence, b"garbage", 0, 0, True))
            assert (await stream.hear_ack()).status is AckStatus.REJECTED
        await stream.send([sequence + 1])
        assert (await stream.hear_ack()).status is AckStatus.DECODED
    await stream.say(Drain())
    assert await running


async def test_sender_that_ignores_the_window_is_cut_off() -> None:
    pipeline = Pipeline()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    pipeline.gate.clear()
    await stream.send([0, 1, 2])
    with pytest.raises(StreamBroken, match="more than 2 unacknowledged"):
        await running
    pipeline.gate.set()


async def test_frame_in_hand_is_finished_before_another_stream_takes_the_session() -> None:
    pipeline, session = Pipeline(), new_session()
    old = Stream(session, pipeline)
    running = await old.begin()
    pipeline.gate.clear()
    await old.send([0, 1])
    old.end.break_off()
    with pytest.raises(StreamBroken, match="connection reset"):
        await running
    new = Stream(session, pipeline)
    beginning = asyncio.create_task(new.begin())
    await settle()
    assert not beginning.done()
    pipeline.gate.set()
    running = await beginning
    # Frame 1 had arrived but was not begun: the sender will send it again, perhaps coded differently.
    assert (pipeline.done, session.next_sequence, session.decodable_from) == ([0], 1, 0)
    await new.send([1])
    assert (await new.hear_ack()).status is AckStatus.DECODED
    await new.say(Drain())
    assert await running


async def test_stream_whose_sender_came_back_on_another_lets_go() -> None:
    session = new_session()
    old, new = Stream(session, Pipeline()), Stream(session, Pipeline())
    abandoned = await old.begin()
    running = await new.begin()
    with pytest.raises(StreamBroken, match="ABORTED"):
        await abandoned
    await new.say(Drain())
    assert await running


async def test_drain_finishes_and_acknowledges_what_has_arrived() -> None:
    pipeline = Pipeline()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    pipeline.gate.clear()
    await stream.send([0, 1])
    stream.connection.drain()
    await settle()
    pipeline.gate.set()
    assert [(await stream.hear_ack()).sequence, (await stream.hear_ack()).sequence] == [0, 1]
    assert await stream.hear() == Drain()
    assert not await running


async def test_sender_that_says_nothing_counts_as_gone_and_its_stream_ends_later() -> None:
    stream = Stream(new_session(), Pipeline(), silence_s=0.01)
    running = await stream.begin()
    async with asyncio.timeout(10):
        while not stream.session.silent:
            await asyncio.sleep(0.001)
    assert stream.session.held
    with pytest.raises(StreamBroken, match="no message"):
        await running
    assert not stream.session.held


async def test_stream_of_a_link_that_stood_still_goes_on() -> None:
    stream = Stream(new_session(), Pipeline(), silence_s=0.02)
    running = await stream.begin()
    async with asyncio.timeout(10):
        while not stream.session.silent:
            await asyncio.sleep(0.001)
    await stream.send([0])
    assert (await stream.hear_ack()).sequence == 0
    assert not stream.session.silent
    stream.end.break_off()
    with pytest.raises(StreamBroken):
        await running


async def test_parcels_arrive_while_a_frame_is_in_hand() -> None:
    pipeline = Pipeline()
    pipeline.gate.clear()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    await stream.send([0])
    await stream.say(Chunk(1, 0, b"abc", "colours", 2, 3, zlib.crc32(b"abc")))
    assert await stream.hear() == ChunkAck(1, 3)
    assert pipeline.blobs == [Blob("colours", 2, b"abc")]
    assert pipeline.done == []
    await stream.say(Chunk(2, 0, b"abc", "broken", 2, 3, zlib.crc32(b"abc")))
    assert await stream.hear() == ChunkAck(2, 3)
    pipeline.gate.set()
    assert (await stream.hear_ack()).sequence == 0
    stream.end.break_off()
    with pytest.raises(StreamBroken):
        await running


async def test_pieces_out_of_order_end_the_stream() -> None:
    stream = Stream(new_session(), Pipeline())
    running = await stream.begin()
    await stream.say(Chunk(1, 5, b"abc"))
    with pytest.raises(StreamBroken, match=r"does not follow.*INVALID_ARGUMENT"):
        await running


async def test_pipeline_that_cannot_go_on_ends_the_stream_with_the_reason() -> None:
    pipeline = Pipeline()
    stream = Stream(new_session(), pipeline)
    running = await stream.begin()
    pipeline.failure = OutputError("disk full")
    await stream.send([0])
    with pytest.raises(StreamBroken, match=r"disk full.*INTERNAL"):
        await running
    assert stream.session.next_sequence == 0


async def test_arrival_spacing_is_measured_on_the_monotonic_clock() -> None:
    times_s = iter((10.0, 10.0, 10.025, 10.025))
    stream = Stream(new_session(), Pipeline(), clock=Clock(lambda: next(times_s), lambda: 1e9))
    running = await stream.begin()
    await stream.send([0])
    assert (await stream.hear_ack()).server_received_ns == 10**18
    await stream.send([1])
    assert (await stream.hear_ack()).arrival_spacing_ns == pytest.approx(25e6, rel=1e-6)
    stream.end.break_off()
    with pytest.raises(StreamBroken):
        await running
