"""The receiver's pipeline: what it writes, in which order, and how it treats unusable packets."""

import asyncio
import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.arrays import ByteArray
from common.blobs import COLOURS, PICTURE, TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.clock import Clock
from common.codec.frame_codec import FrameCodec
from common.errors import MalformedPacket, MissingReference, WireError
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUPS
from common.picture_codec.key_picture import KeyPicture
from common.picture_codec.key_picture import encode as encode_picture
from common.texture.atlas import AtlasLayout, Texture
from common.texture.atlas_tiles import TILES, WITHDRAWN
from common.texture.atlas_tiles import encode as encode_tile
from common.texture.point_colours import encode
from common.wire.convert import FrameMessage
from receiver.engine.engine import Priority
from receiver.link.frame_handler import Arrival
from receiver.link.live_load import LiveLoad
from receiver.link.refusals import StreamRefused
from receiver.link.session import SenderClock, Session
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.frame_record import rounded_bytes
from receiver.publish.session_directory import SessionDirectory
from receiver.texture.inpainting import TextureInpainter
from receiver.texture.threads import TextureThreads
from tests.support import fake_link
from tests.support.fake_reconstructor import FakeEngine

HASH = bytes(8)


@pytest.fixture
async def running(tmp_path: Path):  # type: ignore[no-untyped-def]
    engine = FakeEngine()
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(
            engine,
            directory,
            ReceiverMetrics(),
            Clock(monotonic=lambda: 0.0, wall=lambda: 1000.5),
        )
        yield pipeline, engine, tmp_path
        await pipeline.close()
    assert engine.closed


def new_session() -> Session:
    return fake_link.new_session(FrameCodec(HASH))


def packets(frames: int, source: str = "clip.mp4", first: int = 0) -> list[FrameMessage]:
    codec, messages = FrameCodec(HASH), []
    for sequence in range(first, first + frames):
        labels = {group.name: np.full(group.size, 0.1 * sequence, np.float32) for group in GROUPS}
        person = PersonLabels(3, 0.9, labels)
        frame = LabelFrame(sequence, source, 1000.0, Camera(640, 480, 768.0), (person,))
        encoded = codec.encode(frame, {})
        messages.append(FrameMessage(sequence, encoded.payload))
        codec.acknowledge(sequence)
    return messages


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


async def test_each_frame_is_written_with_its_meshes(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, engine, out = running
    session = new_session()
    await pipeline.on_session(session)
    for message in packets(3):
        await pipeline.on_frame(session, message, Arrival(0.0))
    written = lines(out)
    assert [line["seq"] for line in written] == [0, 1, 2]
    assert written[0]["age_ms"] == 500.0
    assert {"codec", "diffusion", "publish"} <= set(written[0]["stages_ms"])
    for line in written:
        (person,) = line["people"]
        assert (out / person["surface"]).exists() and (out / person["body"]).exists()
    assert {request.session for request in engine.requests} == {session.session_id}


@pytest.mark.parametrize(
    ("live", "durable", "replayed", "priority"),
    [
        (True, False, False, Priority.LIVE),
        (True, True, False, Priority.UPLOAD),
        (False, False, False, Priority.UPLOAD),
        (True, False, True, Priority.REPLAY),
    ],
)
async def test_session_sets_the_priority(  # type: ignore[no-untyped-def]
    running, live: bool, durable: bool, replayed: bool, priority: Priority
) -> None:
    pipeline, engine, _ = running
    session = new_session()
    session.live, session.durable, session.replayed = live, durable, replayed
    await pipeline.on_session(session)
    await pipeline.on_frame(session, packets(1)[0], Arrival(0.0))
    assert [request.priority for request in engine.requests] == [priority]


async def test_people_of_live_sessions_are_counted(tmp_path: Path) -> None:
    now_s = 100.0
    load = LiveLoad(clock=Clock(lambda: now_s, lambda: 1000.0))
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(FakeEngine(), directory, ReceiverMetrics(), load=load)
        session = new_session()
        session.live = True
        await pipeline.on_session(session)
        for message in packets(4):
            now_s += 1.0
            await pipeline.on_frame(session, message, Arrival(0.0))
        assert load.people_per_second == 1
        await pipeline.on_session_end(session)
        assert load.people_per_second == 0
        await pipeline.close()


@pytest.mark.parametrize(
    ("queue_ms", "live", "full"), [(260.0, True, True), (240.0, True, False), (260.0, False, False)]
)
async def test_live_frames_that_wait_long_for_the_engine_leave_no_room(
    tmp_path: Path, queue_ms: float, live: bool, full: bool
) -> None:
    load, engine = LiveLoad(lambda: 100.0), FakeEngine()
    engine.queue_ms = queue_ms
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(engine, directory, ReceiverMetrics(), load=load)
        running, measured = new_session(), new_session()
        running.live, measured.live = True, live
        running.session_id = bytes([1] * 16)
        await pipeline.on_session(running)
        await pipeline.on_session(measured)
        for message in packets(2):
            await pipeline.on_frame(measured, message, Arrival(0.0))
        with pytest.raises(StreamRefused, match="wait for too long") if full else contextlib.nullcontext():
            load.admit()
        await pipeline.close()


async def test_age_is_corrected_by_the_clock_offset(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, _, out = running
    session = new_session()
    await pipeline.on_session(session)
    first, second = packets(2)
    await pipeline.on_frame(session, first, Arrival(0.0))
    # The sender's clock is 0.4 s behind ours: what it calls 1000.0 was 1000.4 here.
    session.clock = SenderClock(0.4, 0.003)
    await pipeline.on_frame(session, second, Arrival(0.0))
    written = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["age_ms"] for line in written] == pytest.approx([500.0, 100.0], abs=0.1)
    assert [line["clock_error_ms"] for line in written] == [None, 3.0]


async def test_broken_packet_raises_and_writes_nothing(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, _, out = running
    session = new_session()
    await pipeline.on_session(session)
    whole = packets(1)[0]
    for payload in (whole.payload[:-3], b"", whole.payload[:20] + b"x" + whole.payload[21:]):
        with pytest.raises(WireError):
            await pipeline.on_frame(session, FrameMessage(0, payload), Arrival(0.0))
    assert lines(out) == []
    await pipeline.on_frame(session, whole, Arrival(0.0))
    assert len(lines(out)) == 1


def test_unused_messages_are_counted(tmp_path: Path) -> None:
    metrics, session = ReceiverMetrics(), new_session()
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(FakeEngine(), directory, metrics)
        for unused in (packets(1)[0], None, None):
            pipeline.on_unused(session, unused)
    counted = metrics.registry.get_sample_value
    assert counted("bodywire_receiver_frames_total", {"fate": "duplicate"}) == 1
    assert counted("bodywire_receiver_frames_total", {"fate": "malformed"}) == 2


async def test_missing_reference_requests_a_key_frame(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, _, _ = running
    session = new_session()
    await pipeline.on_session(session)
    with pytest.raises(MissingReference):
        await pipeline.on_frame(session, packets(2)[1], Arrival(0.0))


async def test_restarted_receiver_resumes_after_the_frames_on_disk(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, _, _ = running
    first = new_session()
    await pipeline.on_session(first)
    for message in packets(3):
        await pipeline.on_frame(first, message, Arrival(0.0))
    await pipeline.on_session_end(first)
    again = new_session()
    await pipeline.on_session(again)
    assert again.next_sequence == 3


def test_rounded_bytes_keep_the_total() -> None:
    assert rounded_bytes({"root": 10.4, "header": 20.6}, 31.0) == {"total": 31, "root": 10, "header": 21}


async def test_colours_apply_to_the_frames_that_follow(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, engine, _ = running
    session = new_session()
    await pipeline.on_session(session)
    messages = packets(2)
    await pipeline.on_frame(session, messages[0], Arrival(0.0))
    colours = encode(np.full((2048, 3), 90, np.uint8), np.ones(2048, np.bool_))
    pipeline.on_blob(session, Blob(COLOURS, 3, colours))
    with pytest.raises(MalformedPacket, match="its kind is unknown"):
        pipeline.on_blob(session, Blob("of another time", 3, b"?"))
    await pipeline.on_frame(session, messages[1], Arrival(0.0))
    assert [set(request.colours) for request in engine.requests] == [set(), {3}]
    with pytest.raises(MalformedPacket):
        pipeline.on_blob(session, Blob(COLOURS, 3, colours[:-1]))
    with pytest.raises(MalformedPacket, match="person 256"):
        pipeline.on_blob(session, Blob(COLOURS, 256, colours))


async def test_textures_apply_to_the_frames_that_follow(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, engine, _ = running
    session = new_session()
    await pipeline.on_session(session)
    messages = packets(3)
    await pipeline.on_frame(session, messages[0], Arrival(0.0))
    everywhere = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    data = encode_tile(TILES[0], np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8), everywhere)
    pipeline.on_blob(session, Blob(TEXTURE, TILES[0].key(3), data))
    await pipeline.on_frame(session, messages[1], Arrival(0.0))
    with pytest.raises(MalformedPacket):
        pipeline.on_blob(session, Blob(TEXTURE, TILES[0].key(3), data[:-5]))
    pipeline.on_blob(session, Blob(TEXTURE, TILES[0].key(3), WITHDRAWN))
    await pipeline.on_frame(session, messages[2], Arrival(0.0))
    assert [set(request.textures) for request in engine.requests] == [set(), {3}, set()]


async def test_key_picture_is_written_before_the_pipeline_closes(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(FakeEngine(), directory, ReceiverMetrics())
        session = new_session()
        await pipeline.on_session(session)
        picture = KeyPicture(np.full((64, 64, 3), 90, np.uint8), 5.0)
        pipeline.on_blob(session, Blob(PICTURE, 3, encode_picture(picture)))
        with pytest.raises(MalformedPacket, match="its kind is unknown"):
            pipeline.on_blob(session, Blob("picture2", 3, b"?"))
        await pipeline.close()
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"s1-p3.png", "s1-p3.json"}


async def test_live_frames_do_not_wait_for_learned_tiles(running) -> None:  # type: ignore[no-untyped-def]
    pipeline, engine, _ = running
    session = new_session()
    await pipeline.on_session(session)
    messages = packets(2)
    everywhere = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
    data = encode_tile(TILES[-1], np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8), everywhere, "learned")
    pipeline.on_blob(session, Blob(TEXTURE, TILES[-1].key(3), data))
    # The decoder's turn comes when this task waits: not before a live frame has asked for textures.
    session.live = True
    await pipeline.on_frame(session, messages[0], Arrival(0.0))
    session.live = False
    await pipeline.on_frame(session, messages[1], Arrival(0.0))
    assert [set(request.textures) for request in engine.requests] == [set(), {3}]


class Completions:
    """A network that estimates one colour when it may, and the tile that it completes."""

    COLOURS = np.full((128, 128, 3), 7, np.uint8)

    def __init__(self) -> None:
        self._layout = AtlasLayout.of(BodyModel.load())
        self.may_end, self.begun = threading.Event(), threading.Event()
        self.ended: list[int] = []

    def inpainter(self) -> TextureInpainter:
        return TextureInpainter(lambda: (self._layout, self._estimate))

    def blob(self, identity: int) -> Blob:
        left = np.arange(ATLAS_SIZE)[None].repeat(ATLAS_SIZE, axis=0) < ATLAS_SIZE // 2
        data = encode_tile(TILES[0], np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8), left)
        return Blob(TEXTURE, TILES[0].key(identity), data)

    def _estimate(self, texture: Texture) -> ByteArray:
        self.begun.set()
        assert self.may_end.wait(60)
        self.ended.append(len(self.ended))
        return self.COLOURS


async def test_live_frames_do_not_wait_for_completions(tmp_path: Path) -> None:
    engine, completions, session = FakeEngine(), Completions(), new_session()
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(engine, directory, ReceiverMetrics(), inpainter=completions.inpainter())
        await pipeline.on_session(session)
        pipeline.on_blob(session, completions.blob(3))
        messages = packets(3)
        session.live = True
        for message in messages[:2]:
            await pipeline.on_frame(session, message, Arrival(0.0))
        assert not completions.ended
        completions.may_end.set()
        # A frame that is not live waits, so that its colours do not depend on time.
        session.live = False
        await pipeline.on_frame(session, messages[2], Arrival(0.0))
        found = [request.textures[3].completion for request in engine.requests]
        assert found[:2] == [None, None] and found[2] is completions.COLOURS and completions.ended == [0]
        await pipeline.close()


async def test_closing_gives_up_completions_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    completions, session = Completions(), new_session()
    shutdown = TextureThreads.shutdown

    def finish_and_shut_down(threads: TextureThreads) -> None:
        completions.may_end.set()
        shutdown(threads)

    monkeypatch.setattr(TextureThreads, "shutdown", finish_and_shut_down)
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(FakeEngine(), directory, ReceiverMetrics(), inpainter=completions.inpainter())
        session.live = True
        await pipeline.on_session(session)
        for identity in (3, 4):
            pipeline.on_blob(session, completions.blob(identity))
        await pipeline.on_frame(session, packets(1)[0], Arrival(0.0))
        assert await asyncio.to_thread(completions.begun.wait, 60)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await pipeline.close()
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, True] and completions.ended == [0]
