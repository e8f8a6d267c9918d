"""Complete delivery: every frame once and in order, whoever is away, is killed or is slow in between."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import sender.spool.spool
from common.errors import OutputError, PeerError
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.wire.convert import FrameMessage, Hello
from receiver.link import LinkServer, Session
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import PublishConfig, SessionDirectory, SessionWriter
from sender.link import LinkClient, LinkConfig
from sender.spool.complete_delivery import CompleteDelivery, Outstanding
from sender.spool.spool import Spool, SpoolContent
from tests.support.fake_link import MODEL, CountingCodec
from tests.support.link_fixture import Ends, Pipeline

CONTENT = SpoolContent("clip", 1, MODEL)


def frame(sequence: int) -> LabelFrame:
    return LabelFrame(sequence, "clip", 1000.0 + sequence, Camera(8, 8, 9.0), (PersonLabels(0, 1.0, {}),))


class Shelf(Pipeline):
    """A pipeline that writes lines as the receiver does."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.directory = SessionDirectory(PublishConfig(out=out))
        self.durable: list[bool] = []
        self._writers: dict[bytes, SessionWriter] = {}

    async def on_session(self, session: Session) -> None:
        await super().on_session(session)
        self.durable.append(session.durable)
        writer = self.directory.session(session.session_id.hex(), durable=session.durable)
        self._writers[session.session_id] = writer
        session.next_sequence = max(session.next_sequence, writer.last_sequence + 1)

    async def on_frame(self, session: Session, frame: FrameMessage) -> None:
        await super().on_frame(session, frame)
        record = FrameRecord(frame.sequence, "clip", 0.0, 0.0, None, {}, {}, {}, ())
        self._writers[session.session_id].append(record)


def lines(out: Path) -> list[tuple[int, int]]:
    """Session and sequence of every line."""
    measurement: list[dict[str, Any]] = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    return [(line["session"], line["seq"]) for line in measurement]


class Sender:
    """What a sender in complete mode consists of, without camera and networks."""

    def __init__(self, directory: Path, peer: Address, limit_bytes: float = 1e9) -> None:
        self.spool = Spool(directory / "spool", CONTENT, limit_bytes)
        self.codec = CountingCodec()
        outstanding = Outstanding()
        hello = Hello(self.spool.session_id, "test", 1, MODEL, False, resume=self.spool.resumed, durable=True)
        link = LinkClient(LinkConfig(peer=peer).patient(), hello, self.codec, observer=outstanding)
        self.delivery = CompleteDelivery(link, self.spool, outstanding)

    async def begin(self) -> None:
        await self.delivery.connect()

    async def take_in(self, count: int) -> None:
        for _ in range(count):
            await self.delivery.send(frame(self.spool.next_sequence))

    async def end(self) -> None:
        """As when it is killed, but for what the operating system does then."""
        await self.delivery.close()
        self.spool.close()


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender.spool.spool, "_FRAMES_PER_SEGMENT", 8)


async def stop(server: LinkServer, shelf: Shelf) -> None:
    await server.stop()
    shelf.directory.close()


async def test_the_receiver_may_come_later(ends: Ends, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "out")
    server, address = await ends.server(Pipeline())
    await server.stop()
    one = Sender(tmp_path, address)
    await one.begin()
    await one.take_in(30)
    assert one.spool.pending == 30
    await ends.server(shelf, port=address.port)
    async with asyncio.timeout(20):
        await one.delivery.drain()
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(30)]
    assert shelf.durable == [True]
    assert one.spool.pending == 0
    await one.end()
    shelf.directory.close()


async def test_both_ends_may_be_started_again(ends: Ends, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "out")
    server, address = await ends.server(shelf)
    for _ in range(3):
        one = Sender(tmp_path, address)
        await one.begin()
        await one.take_in(20)
        await shelf.until_decoded(one.spool.next_sequence - 7)
        await one.end()
        await stop(server, shelf)
        shelf = Shelf(tmp_path / "out")
        server, address = await ends.server(shelf, port=address.port)
    one = Sender(tmp_path, address)
    await one.begin()
    async with asyncio.timeout(20):
        await one.delivery.drain()
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(60)]
    await one.end()
    await stop(server, shelf)


async def test_a_sender_that_finds_everything_delivered_just_ends_the_session(ends: Ends, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "out")
    _, address = await ends.server(shelf)
    one = Sender(tmp_path, address)
    await one.begin()
    await one.take_in(5)
    await shelf.until_decoded(4)
    await one.end()
    one = Sender(tmp_path, address)
    await one.begin()
    async with asyncio.timeout(10):
        await one.delivery.drain()
    assert one.codec.encoded == []
    assert (await shelf.ended.get()).next_sequence == 5
    await one.end()
    shelf.directory.close()


async def test_a_full_spool_lets_the_source_wait(ends: Ends, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "out")
    _, address = await ends.server(shelf)
    shelf.gate.clear()
    one = Sender(tmp_path, address, limit_bytes=1200)
    await one.begin()
    taking = asyncio.create_task(one.take_in(200))
    async with asyncio.timeout(10):
        while one.spool.has_room:
            await asyncio.sleep(0.01)
    assert not taking.done()
    shelf.gate.set()
    async with asyncio.timeout(20):
        await taking
        await one.delivery.drain()
    assert lines(tmp_path / "out") == [(1, sequence) for sequence in range(200)]
    await one.end()
    shelf.directory.close()


async def test_a_receiver_that_refuses_ends_the_delivery_and_loses_nothing(ends: Ends, tmp_path: Path) -> None:
    _, address = await ends.server(Pipeline(), model=b"\x07" * 8)
    one = Sender(tmp_path, address)
    await one.begin()
    with pytest.raises(PeerError, match="different models"):
        async with asyncio.timeout(10):
            await one.take_in(1)
            await one.delivery.drain()
    with pytest.raises(PeerError, match="different models"):
        await one.take_in(1)
    assert one.spool.pending == 1
    await one.end()


async def test_a_disk_that_is_full_is_told(ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, address = await ends.server(Pipeline())
    one = Sender(tmp_path, address)
    await one.begin()
    await one.take_in(1)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sender.spool.segment.SegmentWriter.append", lambda *_: full(_))
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        await one.take_in(1)
    monkeypatch.undo()
    await one.end()


async def test_an_error_that_nobody_foresaw_is_not_kept_quiet(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address = await ends.server(Pipeline())
    one = Sender(tmp_path, address)

    def unforeseen(_: int) -> list[LabelFrame]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(one.spool, "take", unforeseen)
    await one.begin()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with asyncio.timeout(10):
            await one.take_in(1)
            await one.delivery.drain()
    await one.end()


async def test_a_session_that_the_receiver_has_more_of_is_told(ends: Ends, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "out")
    _, address = await ends.server(shelf)
    one = Sender(tmp_path, address)
    await one.begin()
    await one.take_in(9)
    await shelf.until_decoded(8)
    await one.end()
    for path in (tmp_path / "spool").glob("*.frames"):
        path.unlink()
    one = Sender(tmp_path, address)
    await one.begin()
    with pytest.raises(Exception, match="it is an old copy"):
        async with asyncio.timeout(10):
            await one.delivery.drain()
    await one.end()
    shelf.directory.close()
