"""Complete delivery: every frame arrives once and in order, across restarts and absences of both ends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from common.blobs import TEXTURE, Blob
from common.errors import MalformedPacket, PeerError
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.wire.convert import FrameMessage
from receiver.config import PublishConfig
from receiver.link.session import Arrival, FrameOutcome, Session
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_writer import SessionWriter
from sender.spool import Spool, SpoolContent
from tests.support.link.counting_codec import MODEL, CountingCodec
from tests.support.link.link_fixture import LinkFixture
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.receiver.published_session import OWNER

CONTENT = SpoolContent("clip", 1, MODEL)


def frame(sequence: int) -> LabelFrame:
    return LabelFrame(sequence, "clip", 1000.0 + sequence, Camera(8, 8, 9.0), (PersonLabels(0, 1.0, {}),))


class DurablePipeline(RecordingPipeline):
    """Writes frame records as the receiver does."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.directory = SessionDirectory(PublishConfig(out=out))
        self.durable: list[bool] = []
        self._writers: dict[bytes, SessionWriter] = {}

    async def on_session(self, session: Session) -> int:
        await super().on_session(session)
        self.durable.append(session.durable)
        writer = self.directory.session(session.session_id.hex(), OWNER, durable=session.durable)
        self._writers[session.session_id] = writer
        return writer.last_sequence + 1

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        outcome = await super().on_frame(session, frame, arrival)
        for sequence in frame.sequences:
            record = FrameRecord(sequence, "clip", 0.0, 0.0, None, {}, {}, {}, ())
            self._writers[session.session_id].append(record)
        return outcome


def lines(out: Path) -> list[tuple[int, int]]:
    """Session and sequence of every line."""
    records: list[dict[str, Any]] = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    return [(record["session"], record["seq"]) for record in records]


class CompleteSender:
    """A sender with complete delivery, without camera and networks."""

    def __init__(self, link: LinkFixture, directory: Path, peer: Address, limit_bytes: float = 1e9) -> None:
        self.spool = Spool(directory / "spool", CONTENT, limit_bytes)
        self.codec = CountingCodec()
        self.client, _ = link.client(peer, encoder=self.codec, spool=self.spool)

    @classmethod
    async def started(cls, link: LinkFixture, directory: Path, peer: Address, limit_bytes: float = 1e9) -> Self:
        sender = cls(link, directory, peer, limit_bytes)
        await sender.client.connect()
        return sender

    async def drain(self) -> None:
        async with asyncio.timeout(20):
            await self.client.drain()

    async def capture(self, count: int) -> None:
        for _ in range(count):
            await self.client.send(frame(self.spool.next_sequence))

    async def end(self) -> None:
        """Stops as if killed, except for the cleanup by the operating system."""
        await self.client.close()
        self.spool.close()


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.spool._FRAMES_PER_SEGMENT", 8)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[DurablePipeline]:
    pipeline = DurablePipeline(tmp_path / "out")
    yield pipeline
    pipeline.directory.close()


async def test_damaged_message_is_sent_again_and_handled_in_its_place(
    link: LinkFixture, pipeline: DurablePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = {3, 9}
    handle = pipeline.on_frame

    async def on_frame(session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        if damaged.intersection(frame.sequences):
            damaged.difference_update(frame.sequences)
            raise MalformedPacket("damaged")
        return await handle(session, frame, arrival)

    monkeypatch.setattr(pipeline, "on_frame", on_frame)
    _, address = await link.server(pipeline)
    sender = await CompleteSender.started(link, tmp_path, address)
    await sender.capture(20)
    await sender.drain()
    await sender.end()
    assert not damaged
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(20)]


async def test_blobs_arrive_with_their_frames_from_the_spool(
    link: LinkFixture, pipeline: DurablePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.link.background_transfer._MOST_BYTES", 6)
    server, address = await link.server(RecordingPipeline())
    await server.stop()
    sender = await CompleteSender.started(link, tmp_path, address)
    for number in range(3):
        await sender.client.send(frame(number), [Blob(TEXTURE, number, b"abc")])
    await link.server(pipeline, port=address.port)
    await sender.drain()
    # The third one was posted, because memory has room for two; without a pacer, what is posted is not sent.
    assert pipeline.blobs == [Blob(TEXTURE, 0, b"abc"), Blob(TEXTURE, 1, b"abc")]
    assert lines(tmp_path / "out") == [(1, number) for number in range(3)]
    await sender.end()


async def test_receiver_that_starts_later_gets_every_frame(
    link: LinkFixture, pipeline: DurablePipeline, tmp_path: Path
) -> None:
    server, address = await link.server(RecordingPipeline())
    await server.stop()
    sender = await CompleteSender.started(link, tmp_path, address)
    await sender.capture(30)
    assert sender.spool.pending == 30
    await link.server(pipeline, port=address.port)
    await sender.drain()
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(30)]
    assert pipeline.durable == [True]
    assert sender.spool.pending == 0
    await sender.end()


async def test_restarts_of_both_ends(link: LinkFixture, tmp_path: Path) -> None:
    pipeline = DurablePipeline(tmp_path / "out")
    server, address = await link.server(pipeline)
    for _ in range(3):
        sender = await CompleteSender.started(link, tmp_path, address)
        await sender.capture(20)
        await pipeline.until_decoded(sender.spool.next_sequence - 7)
        await sender.end()
        await server.stop()
        pipeline.directory.close()
        pipeline = DurablePipeline(tmp_path / "out")
        server, address = await link.server(pipeline, port=address.port)
    sender = await CompleteSender.started(link, tmp_path, address)
    await sender.drain()
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(60)]
    await sender.end()
    await server.stop()
    pipeline.directory.close()


async def test_restarted_sender_with_everything_delivered_ends_the_session(
    link: LinkFixture, pipeline: DurablePipeline, tmp_path: Path
) -> None:
    _, address = await link.server(pipeline)
    sender = await CompleteSender.started(link, tmp_path, address)
    await sender.capture(5)
    await pipeline.until_decoded(4)
    await sender.end()
    sender = await CompleteSender.started(link, tmp_path, address)
    await sender.drain()
    assert sender.codec.encoded == []
    assert (await pipeline.ended.get()).next_sequence == 5
    await sender.end()


async def test_sender_without_any_frame_waits_for_the_receiver_and_ends_its_session(
    link: LinkFixture, pipeline: DurablePipeline, tmp_path: Path
) -> None:
    _, address = await link.server(pipeline)
    sender = await CompleteSender.started(link, tmp_path, address)
    await sender.drain()
    assert (await pipeline.ended.get()).next_sequence == 0
    await sender.end()


async def test_full_spool_blocks_the_source(link: LinkFixture, pipeline: DurablePipeline, tmp_path: Path) -> None:
    _, address = await link.server(pipeline)
    pipeline.gate.clear()
    sender = await CompleteSender.started(link, tmp_path, address, limit_bytes=1200)
    capturing = asyncio.create_task(sender.capture(200))
    async with asyncio.timeout(10):
        while sender.spool.has_room:
            await asyncio.sleep(0.01)
    assert not capturing.done()
    pipeline.gate.set()
    await capturing
    await sender.drain()
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(200)]
    await sender.end()


async def test_refusal_ends_the_delivery_and_keeps_the_frames(link: LinkFixture, tmp_path: Path) -> None:
    _, address = await link.server(RecordingPipeline(), model=b"\x07" * 8)
    sender = await CompleteSender.started(link, tmp_path, address)
    with pytest.raises(PeerError, match="different models"):
        await sender.capture(1)
        await sender.drain()
    with pytest.raises(PeerError, match="different models"):
        await sender.capture(1)
    assert sender.spool.pending == 1
    await sender.end()


async def test_unexpected_error_is_raised(link: LinkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, address = await link.server(RecordingPipeline())
    sender = CompleteSender(link, tmp_path, address)

    def fail(*_: int) -> list[LabelFrame]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(sender.spool, "read", fail)
    await sender.client.connect()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await sender.capture(1)
        await sender.drain()
    await sender.end()
