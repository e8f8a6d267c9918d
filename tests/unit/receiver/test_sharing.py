"""How the pipeline limits one sender: late live frames are only decoded, and frames have a limit of people."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.clock import Clock
from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUPS
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ClientMessages,
    Drain,
    FrameMessage,
    ServerMessage,
    ServerMessages,
    Welcome,
)
from receiver.link.auth.ownership import SessionOwner
from receiver.link.connection import Connection
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.refusals import RepeatedLines
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.sharing import SharingConfig
from tests.support.fake_link import FakeEnd, fake_link, settle
from tests.support.fake_reconstructor import FakeEngine

MODEL = bytes(8)
WINDOW = 8


@dataclass
class Receiver:
    """A pipeline without networks, with a clock that the test sets."""

    out: Path
    sharing: SharingConfig
    now_s: float = 100.0

    def __post_init__(self) -> None:
        self.engine, self.metrics = FakeEngine(), ReceiverMetrics()
        self.clock = Clock(monotonic=lambda: self.now_s, wall=lambda: 1000.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ReceiverPipeline]:
        with SessionDirectory(PublishConfig(out=self.out)) as directory:
            pipeline = ReceiverPipeline(self.engine, directory, self.metrics, self.clock, self.sharing)
            yield pipeline
            self.engine.gate.set()
            await pipeline.close()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "frames.jsonl").read_text().splitlines()]

    def count(self, fate: str) -> float | None:
        return self.metrics.registry.get_sample_value("bodywire_receiver_frames_total", {"fate": fate})

    def left_out(self) -> float | None:
        return self.metrics.registry.get_sample_value("bodywire_receiver_people_left_out_total")


def new_session(*, live: bool = True, durable: bool = False) -> Session:
    return Session(
        bytes(16),
        "camera",
        live,
        FrameCodec(MODEL),
        owner=SessionOwner.of("studio", b""),
        account="studio",
        durable=durable,
    )


def messages(frames: int, scores: tuple[float, ...] = (1.0,)) -> Iterator[FrameMessage]:
    """Frames predicted from each other, as if each had been acknowledged before the next one left."""
    codec = FrameCodec(MODEL)
    for sequence in range(frames):
        labels = {group.name: np.full(group.size, 0.1 * sequence, np.float32) for group in GROUPS}
        people = tuple(PersonLabels(number, score, labels) for number, score in enumerate(scores))
        encoded = codec.encode(LabelFrame(sequence, "camera 0", 999.0, Camera(640, 480, 768.0), people), {})
        yield FrameMessage(sequence, encoded.payload)
        codec.acknowledge(sequence)


async def acknowledgement(end: FakeEnd, received: ServerMessages) -> Acknowledgement:
    message: ServerMessage = received.decode(await end.read() or b"")
    assert isinstance(message, Acknowledgements)
    (ack,) = message.frames
    return ack


async def test_late_live_frames_are_acknowledged_and_the_newest_is_reconstructed(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, SharingConfig(live_wait_ms=250))
    session, (end, server) = new_session(), fake_link()
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        connection = Connection(
            session,
            server,
            pipeline,
            window=WINDOW,
            rejections=3,
            silence_s=60,
            lines=RepeatedLines(logging.getLogger(__name__), receiver.clock),
            clock=receiver.clock,
        )
        await session.claim(connection.abandon)
        running = asyncio.create_task(connection.run(Welcome(True, MODEL)))
        await end.read()
        sent, received = ClientMessages(), ServerMessages()
        receiver.engine.gate.clear()
        *waiting, last = messages(6)
        for message in waiting:
            await end.write(sent.encode(message))
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
    assert (receiver.count("received"), receiver.count("published"), receiver.count("late")) == (6, 3, 3)


@pytest.mark.parametrize(
    ("session", "waited_s", "newer"),
    [
        (new_session(live=False), 9.0, True),
        (new_session(durable=True), 9.0, True),
        (new_session(), 9.0, False),
        (new_session(), 0.2, True),
    ],
    ids=["of a file", "durable", "the newest", "not late"],
)
async def test_other_frames_are_not_dropped(tmp_path: Path, session: Session, waited_s: float, newer: bool) -> None:
    receiver = Receiver(tmp_path, SharingConfig(live_wait_ms=250))
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        arrival = Arrival(receiver.now_s - waited_s)
        if newer:
            arrival.superseded.set()
        assert await pipeline.on_frame(session, next(messages(1)), arrival) is FrameOutcome.PUBLISHED
    assert receiver.count("published") == 1 and receiver.count("late") == 0


async def test_live_frame_that_waits_for_the_engine_is_withdrawn_when_a_newer_one_arrives(tmp_path: Path) -> None:
    receiver, session = Receiver(tmp_path, SharingConfig(live_wait_ms=0)), new_session()
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        receiver.engine.gate.clear()
        arrival = Arrival(receiver.now_s)
        handling = asyncio.create_task(pipeline.on_frame(session, next(messages(1)), arrival))
        await settle()
        assert not handling.done()
        arrival.superseded.set()
        assert await handling is FrameOutcome.LATE
    assert receiver.lines() == [] and receiver.count("late") == 1


async def test_frame_of_a_file_is_never_withdrawn(tmp_path: Path) -> None:
    receiver, session = Receiver(tmp_path, SharingConfig(live_wait_ms=0)), new_session(live=False)
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        receiver.engine.gate.clear()
        arrival = Arrival(0.0)
        arrival.superseded.set()
        handling = asyncio.create_task(pipeline.on_frame(session, next(messages(1)), arrival))
        await settle()
        assert not handling.done()
        receiver.engine.gate.set()
        await handling
    assert receiver.count("published") == 1


async def test_people_of_the_highest_scores_are_reconstructed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    receiver, session = Receiver(tmp_path, SharingConfig(peer_people=2)), new_session()
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        with caplog.at_level(logging.WARNING):
            for message in messages(2, scores=(0.5, 0.2, 1.0, 0.1)):
                await pipeline.on_frame(session, message, Arrival(0.0))
    for line in receiver.lines():
        assert [person["id"] for person in line["people"]] == [0, 2]
        assert line["left_out"] == 2
        assert line["people"][0]["surface"].endswith("-p0.glb")
    assert receiver.left_out() == 4
    assert len([record for record in caplog.records if "--peer-people" in record.message]) == 1


async def test_requests_name_account_and_session(tmp_path: Path) -> None:
    receiver, session = Receiver(tmp_path, SharingConfig()), new_session()
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        await pipeline.on_frame(session, next(messages(1)), Arrival(0.0))
    (request,) = receiver.engine.requests
    assert (request.account, request.session) == ("studio", session.session_id)
    assert "left_out" not in receiver.lines()[0]


async def test_frame_is_finished_when_its_session_ends_meanwhile(tmp_path: Path) -> None:
    receiver, session = Receiver(tmp_path, SharingConfig()), new_session()
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        receiver.engine.gate.clear()
        handling = asyncio.create_task(pipeline.on_frame(session, next(messages(1)), Arrival(0.0)))
        await settle()
        await pipeline.on_session_end(session)
        receiver.engine.gate.set()
        await handling
    assert receiver.count("published") == 1


async def test_close_finishes_the_frame_that_is_being_written(tmp_path: Path) -> None:
    receiver, session = Receiver(tmp_path, SharingConfig()), new_session()
    async with receiver.running() as pipeline:
        await pipeline.on_session(session)
        handling = asyncio.create_task(pipeline.on_frame(session, next(messages(1, scores=(1.0,) * 8)), Arrival(0.0)))
        await settle()
        await pipeline.close()
        await handling
    assert len(receiver.lines()[0]["people"]) == 8


@pytest.mark.parametrize("wrong", [{"peer_people": 0}, {"live_wait_ms": -1.0}, {"live_wait_ms": 60_001.0}])
def test_config_refuses_what_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"peer-people|live-wait-ms"):
        SharingConfig(**wrong)  # type: ignore[arg-type]
