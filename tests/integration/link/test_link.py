"""Both ends of the link over a path that is cut."""

import asyncio
import secrets
from typing import Any

import numpy as np
import pytest

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.errors import ModelMismatch, PeerError, VersionMismatch
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import LABEL_SIZE, split
from common.wire.convert import AckStatus, Drain
from receiver.link.connection import Acknowledger
from sender.link.session import Fate
from tests.netlab.pipe import Shape
from tests.netlab.programs import FixedRate
from tests.netlab.traces import Trace
from tests.support.link.counting_codec import MODEL, label_frame
from tests.support.link.link_fixture import LinkFixture, send_all
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_sender import ScriptedSender


async def test_packet_trains_follow_frames_and_are_measured_by_their_echoes(link: LinkFixture) -> None:
    link.path.shape(Shape(Trace.constant(2000.0), 0.01), Shape(None, 0.01))
    _, client, observer = await link.connected(RecordingPipeline(), live=True)
    for sequence in range(500):
        await client.send(label_frame(sequence))
        await asyncio.sleep(0.02)
    measured = [measurement.bps for measurement in observer.packet_trains]
    assert len(measured) >= 2 and observer.losses == []
    assert 1e6 < measured[-1] < 3e6


async def test_blobs_are_delivered_beside_frames_across_a_cut(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, client, _ = await link.connected(pipeline, pacer=ConstantPacer(200))
    blobs = [Blob("noise", key, secrets.token_bytes(3000)) for key in range(3)]
    for blob in blobs:
        client.post(blob)
    await send_all(client, 0, 20)
    await pipeline.until_decoded(15)
    link.path.cut()
    # Up to eight frames share a message, behind which 200 bytes of blobs may leave.
    await send_all(client, 20, 800)
    await client.drain()
    assert pipeline.blobs == blobs
    assert pipeline.decoded == list(range(800))


async def test_stop_acknowledges_the_frame_being_handled(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline)
    client, observer = link.client(address)
    await client.connect()
    pipeline.gate.clear()
    await client.send(label_frame(0))
    await pipeline.until(lambda: pipeline.decoded == [0])
    stopping = asyncio.create_task(server.stop())
    assert not (await asyncio.wait([stopping], timeout=0.05))[0]
    pipeline.gate.set()
    await stopping
    assert (await pipeline.ended.get()).next_sequence == 1
    await link.server(pipeline, port=address.port)
    await client.drain()
    assert observer.fates == [(0, Fate.ACKNOWLEDGED)]
    assert pipeline.decoded == [0]


async def test_stop_acknowledges_all_that_has_arrived_however_slow_answers_are(
    link: LinkFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, answer = RecordingPipeline(), Acknowledger.answer

    async def slow_answer(self: Acknowledger, *answered: Any) -> None:
        await asyncio.sleep(0.3)
        await answer(self, *answered)

    monkeypatch.setattr(Acknowledger, "answer", slow_answer)
    server, address = await link.server(pipeline)
    async with ScriptedSender(await link.stream(address)) as sender:
        await sender.hello()
        await sender.send(range(5))
        await asyncio.sleep(0.1)  # all have arrived, one has been handled
        stopping = asyncio.create_task(server.stop())
        acknowledged = [await sender.receive_ack() for _ in range(5)]
        assert isinstance(await sender.receive(), Drain)
        await stopping
    assert [(each.sequence, each.status) for each in acknowledged] == [(n, AckStatus.DECODED) for n in range(5)]


async def test_connect_when_versions_differ_or_nothing_listens(link: LinkFixture) -> None:
    models = r"0101010101010101 here, eeeeeeeeeeeeeeee at"
    codecs = f"codec version {CODEC_VERSION}, the sender version {CODEC_VERSION + 1}"
    stopped, port = await link.server(RecordingPipeline())
    await stopped.stop()
    for model, codec, address, error, message in (
        (b"\xee" * 8, CODEC_VERSION, None, ModelMismatch, models),
        (MODEL, CODEC_VERSION + 1, None, VersionMismatch, codecs),
        (MODEL, CODEC_VERSION, port, PeerError, rf"no receiver at {port} within 0\.3 s"),
    ):
        if address is None:
            _, address = await link.server(RecordingPipeline(), model=model)
        client, _ = link.client(address, connect_timeout=0.3, codec_version=codec)
        with pytest.raises(error, match=message) as caught:
            await client.connect()
        assert caught.value.exit_code == 4


def _walking(sequence: int) -> LabelFrame:
    rng = np.random.default_rng(5)
    labels = rng.normal(size=LABEL_SIZE) + 0.05 * np.sin(sequence / 5 + np.arange(LABEL_SIZE))
    person = PersonLabels(0, 0.9, split(labels.astype(np.float32)))
    return LabelFrame(sequence, "walk.avi", sequence / 30, Camera(640, 480, 600.0), (person,))


async def test_real_codec_survives_cuts_of_the_connection(link: LinkFixture) -> None:
    pipeline = RecordingPipeline(lambda: FrameCodec(MODEL))
    _, client, observer = await link.connected(pipeline, encoder=FixedRate(MODEL))
    for sequence in range(90):
        await client.send(_walking(sequence))
        if sequence in (30, 60):
            await pipeline.until_decoded(sequence - 1)
            link.path.cut()
    await client.drain()
    assert pipeline.decoded == list(range(90))
    assert [sequence for sequence, _ in observer.fates] == list(range(90))
    # One or two key frames at the start and after each cut; rejected frames would need more.
    assert len(pipeline.keys) <= 6
