"""Both ends of the link over gRPC on loopback."""

import asyncio
import secrets

import numpy as np
import pytest

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.errors import ModelMismatch, PeerError, VersionMismatch
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import LABEL_SIZE, split
from common.wire.certificates import CertificateFiles
from common.wire.health_check import check_health
from sender.link.observer import Fate
from tests.netlab.programs import FixedRate
from tests.support.link.fake_link import MODEL, label_frame
from tests.support.link.link_fixture import LinkFixture, send_all
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.recording_pipeline import RecordingPipeline


async def test_packet_trains_follow_frames_and_are_measured_by_their_echoes(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline())
    client, observer = link.client(address, live=True)
    await client.connect()
    async with asyncio.timeout(10):
        for sequence in range(1000):
            # The first is too short for the loopback; the second finds that it carries more than frames could use.
            if len(observer.packet_trains) >= 2:
                break
            await client.send(label_frame(sequence))
            await asyncio.sleep(0.02)
    assert len(observer.packet_trains) == 2
    assert all(measurement.bps > 0 for measurement in observer.packet_trains)
    assert observer.losses == []


async def test_blobs_are_delivered_beside_frames_across_a_cut(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, _ = link.client(relay.address, pacer=ConstantPacer(200))
    await client.connect()
    blobs = [Blob("noise", key, secrets.token_bytes(3000)) for key in range(3)]
    for blob in blobs:
        client.post(blob)
    await send_all(client, 0, 20)
    await pipeline.until_decoded(15)
    relay.cut()
    # Up to eight frames share a message, behind which 200 bytes of blobs may leave.
    await send_all(client, 20, 800)
    await client.drain()
    assert pipeline.blobs == blobs
    assert pipeline.decoded == list(range(800))


@pytest.mark.parametrize("live", [False, True])
async def test_resume_after_cuts_continues_from_the_receivers_state(link: LinkFixture, live: bool) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, observer = link.client(relay.address, live=live)
    await client.connect()
    for sequence in range(200):
        await client.send(label_frame(sequence))
        if sequence in (50, 51, 100, 150):
            await pipeline.until_decoded(sequence - 1)
            relay.cut()
        await asyncio.sleep(0)
    await client.drain()
    assert pipeline.opened == 1
    assert len(observer.losses) >= 3
    assert pipeline.decoded == sorted(set(pipeline.decoded))
    acknowledged = [sequence for sequence, fate in observer.fates if fate is Fate.ACKNOWLEDGED]
    if live:
        # Others have lost their answers.
        assert set(acknowledged) <= set(pipeline.decoded)
        assert {fate for _, fate in observer.fates} <= {Fate.ACKNOWLEDGED, Fate.LOST, Fate.SUPERSEDED}
    else:
        assert acknowledged == pipeline.decoded == list(range(200))


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


@pytest.mark.parametrize("no_proxy", ["", "localhost,127.0.0.1"])
@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_proxies_of_the_environment_are_not_used(
    link: LinkFixture, monkeypatch: pytest.MonkeyPatch, variable: str, no_proxy: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", no_proxy)
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline)
    await asyncio.to_thread(check_health, address, CertificateFiles(None, None, None), 10.0)
    client, _ = link.client(Address("localhost", address.port))
    await client.connect()
    await send_all(client, 0, 2)
    await client.drain()
    assert pipeline.decoded == [0, 1]
    await server.stop()
    client, _ = link.client(address, connect_timeout=0.3)
    with pytest.raises(PeerError, match=f"check --peer; {variable} is set, but senders use no proxy"):
        await client.connect()


def _walking(sequence: int) -> LabelFrame:
    rng = np.random.default_rng(5)
    labels = rng.normal(size=LABEL_SIZE) + 0.05 * np.sin(sequence / 5 + np.arange(LABEL_SIZE))
    person = PersonLabels(0, 0.9, split(labels.astype(np.float32)))
    return LabelFrame(sequence, "walk.avi", sequence / 30, Camera(640, 480, 600.0), (person,))


async def test_real_codec_survives_cuts_of_the_connection(link: LinkFixture) -> None:
    pipeline = RecordingPipeline(lambda: FrameCodec(MODEL))
    _, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, observer = link.client(relay.address, encoder=FixedRate(MODEL))
    await client.connect()
    for sequence in range(90):
        await client.send(_walking(sequence))
        if sequence in (30, 60):
            await pipeline.until_decoded(sequence - 1)
            relay.cut()
    await client.drain()
    assert pipeline.decoded == list(range(90))
    assert [sequence for sequence, _ in observer.fates] == list(range(90))
    # One or two key frames at the start and after each cut; rejected frames would need more.
    assert len(pipeline.keys) <= 6
