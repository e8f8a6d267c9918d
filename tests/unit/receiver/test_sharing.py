"""How the pipeline limits one sender: late live frames are only decoded, and frames have a limit of people."""

import asyncio
import logging
from pathlib import Path

import pytest

from common.io.logs import RepeatedLines
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ClientMessages,
    Drain,
    ServerMessage,
    ServerMessages,
    Welcome,
)
from receiver.link.connection import Connection
from receiver.link.session import Arrival, FrameOutcome, RateLimits
from tests.support.link.counting_codec import settle, until
from tests.support.link.path import End, stream_pair
from tests.support.receiver.running_receiver import MODEL, RunningReceiver, live_session, packets


async def acknowledgement(end: End, received: ServerMessages) -> Acknowledgement:
    message: ServerMessage = received.decode(await end.read() or b"")
    assert isinstance(message, Acknowledgements)
    (ack,) = message.frames
    return ack


async def test_late_live_frames_are_acknowledged_and_the_newest_is_reconstructed(tmp_path: Path) -> None:
    end, server = stream_pair()
    async with RunningReceiver(tmp_path, live_wait_ms=250) as receiver:
        session = await receiver.begin(live_session())
        lines = RepeatedLines(logging.getLogger(__name__), receiver.clock)
        limiter = RateLimits(1e9, 1e9, receiver.clock).of_stream(session.account)
        connection = Connection(session, server, receiver.pipeline, limiter=limiter, lines=lines, clock=receiver.clock)
        await session.claim(connection.abandon)
        running = asyncio.create_task(connection.run(Welcome(True, MODEL)))
        await end.read()
        sent, received = ClientMessages(), ServerMessages()
        receiver.engine.gate.clear()
        *waiting, last = packets(6)
        for message in waiting:
            await end.write(sent.encode(message))
        await until(lambda: len(receiver.engine.requests) == 1)
        await settle()
        receiver.now_s += 0.3
        receiver.engine.gate.set()
        acks = [await acknowledgement(end, received) for _ in waiting]
        assert [ack.sequence for ack in acks] == list(range(5))
        assert [ack.status for ack in acks] == [AckStatus.DECODED, *[AckStatus.LATE] * 3, AckStatus.DECODED]
        # The codec has followed the frames that were dropped, and a dropped frame is not asked for again.
        await end.write(sent.encode(last))
        assert (await acknowledgement(end, received)).sequence == session.decodable_from == 5
        await end.write(sent.encode(waiting[2]))
        assert (await acknowledgement(end, received)).status is AckStatus.DUPLICATE
        await end.write(sent.encode(Drain()))
        assert await running
    assert session.next_sequence == 6
    assert [line["seq"] for line in receiver.lines()] == [0, 4, 5]
    assert [receiver.count(fate) for fate in ("received", "published", "late")] == [6, 3, 3]


@pytest.mark.parametrize(
    ("live", "waited_s", "superseded"),
    [(False, 9.0, True), (True, 9.0, False), (True, 0.2, True)],
    ids=["of a file", "the newest", "not late"],
)
async def test_other_frames_are_not_dropped(tmp_path: Path, live: bool, waited_s: float, superseded: bool) -> None:
    async with RunningReceiver(tmp_path, live_wait_ms=250) as receiver:
        session = await receiver.begin(live_session(live=live))
        arrival = Arrival(receiver.now_s - waited_s)
        if superseded:
            arrival.superseded.set()
        assert await receiver.pipeline.on_frame(session, next(packets(1)), arrival) is FrameOutcome.PUBLISHED
    assert receiver.count("published") == 1 and receiver.count("late") == 0


@pytest.mark.parametrize("live", [True, False])
async def test_live_frame_that_waits_for_the_engine_is_withdrawn_when_a_newer_one_arrives(
    tmp_path: Path, live: bool
) -> None:
    async with RunningReceiver(tmp_path, live_wait_ms=0) as receiver:
        session = await receiver.begin(live_session(live=live))
        receiver.engine.gate.clear()
        arrival = Arrival(receiver.now_s)
        handling = asyncio.create_task(receiver.pipeline.on_frame(session, next(packets(1)), arrival))
        await until(lambda: len(receiver.engine.requests) == 1)
        await settle()
        assert not handling.done()
        arrival.superseded.set()
        await settle()
        assert handling.done() is live
        receiver.engine.gate.set()
        assert await handling is (FrameOutcome.LATE if live else FrameOutcome.PUBLISHED)
    assert receiver.count("late") == live and len(receiver.lines()) == (not live)


async def test_people_of_the_highest_scores_are_reconstructed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with RunningReceiver(tmp_path, peer_people=2) as receiver:
        with caplog.at_level(logging.WARNING):
            await receiver.handle(await receiver.begin(), *packets(2, scores=(0.5, 0.2, 1.0, 0.1)))
    for line in receiver.lines():
        assert [person["id"] for person in line["people"]] == [3, 5]
        assert line["left_out"] == 2
        assert line["people"][0]["surface"].endswith("-p3.glb")
    assert receiver.metrics.registry.get_sample_value("bodywire_receiver_people_left_out_total") == 4
    assert len([record for record in caplog.records if "of the highest scores are" in record.message]) == 1


async def test_frame_in_hand_is_finished_when_its_session_or_the_pipeline_ends(tmp_path: Path) -> None:
    async with RunningReceiver(tmp_path) as receiver:
        session = await receiver.begin()
        receiver.engine.gate.clear()
        handling = asyncio.create_task(receiver.handle(session, *packets(1)))
        await until(lambda: len(receiver.engine.requests) == 1)
        await receiver.pipeline.on_session_end(session)
        receiver.engine.gate.set()
        await handling
        assert receiver.count("published") == 1
        session = await receiver.begin(live_session(number=1))
        handling = asyncio.create_task(receiver.handle(session, *packets(1, scores=(1.0,) * 8)))
        await until(lambda: len(receiver.engine.requests) == 2)
    await handling
    assert len(receiver.lines()[1]["people"]) == 8
