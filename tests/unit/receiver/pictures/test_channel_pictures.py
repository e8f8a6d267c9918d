"""Pictures of a simulated channel become files and metrics; the newest counts, and hostile ones are refused."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from prometheus_client import CollectorRegistry

from common.blobs import SIGNAL, Blob
from common.channel.channel import SignalBlob
from common.channel.image_codec import ImageChannel, encode
from common.channel.state import ChannelState
from common.errors import MalformedPacket
from receiver import pictures
from receiver.config import PublishConfig
from receiver.metrics import ReceiverMetrics
from receiver.pictures import ChannelPictures
from tests.support.link.counting_codec import new_session
from tests.support.training.tiny_image_channel import TINY, tiny_network

SESSION = 2
AWGN = ChannelState(10.0)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ImageChannel:
    network = tiny_network()
    monkeypatch.setattr(pictures, "_network", lambda: network)
    return network


def blob(network: ImageChannel, sequence: int) -> Blob:
    picture = np.random.default_rng(sequence).integers(0, 256, (64, 48, 3), np.uint8)
    signal = encode(network, picture, AWGN, Fraction(1, 8))
    return Blob(SIGNAL, 0, SignalBlob(sequence, 7.5, (3, 4, 96), AWGN, signal).encode())


@asynccontextmanager
async def receiving(out: Path) -> AsyncIterator[tuple[ChannelPictures, CollectorRegistry]]:
    metrics = ReceiverMetrics(CollectorRegistry())
    pictures = ChannelPictures(PublishConfig(out=out), metrics)
    try:
        yield pictures, metrics.registry
    finally:
        await pictures.close()


def count(registry: CollectorRegistry, fate: str) -> float | None:
    return registry.get_sample_value("bodywire_receiver_channel_pictures_total", {"fate": fate})


async def test_picture_is_written_with_what_is_known_about_it(tmp_path: Path, network: ImageChannel) -> None:
    session = new_session()
    async with receiving(tmp_path) as (pictures, registry):
        for sequence in (4, 5):
            pictures.take(session, SESSION, blob(network, sequence))
            await pictures.finish()
    with Pictures.open(tmp_path / "channel/s2-000004.png") as file:
        assert np.asarray(file).shape == (64, 48, 3)
    lines = [json.loads(line) for line in (tmp_path / "channel/s2.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines] == ["s2-000004.png", "s2-000005.png"]
    assert lines[0]["window"] == [3, 4, 96, 96] and lines[0]["captured_at"] == 7.5
    assert (lines[0]["channel"], lines[0]["snr_db"]) == ("awgn", 10.0)
    assert lines[0]["channel_uses"] == pytest.approx(lines[0]["bandwidth_ratio"] * 64 * 48 * 3, abs=0.01)
    assert count(registry, "decoded") == 2
    total = registry.get_sample_value("bodywire_receiver_channel_uses_total")
    assert total == sum(line["channel_uses"] for line in lines)


async def test_newest_picture_replaces_the_one_that_waits(tmp_path: Path, network: ImageChannel) -> None:
    session = new_session()
    async with receiving(tmp_path) as (pictures, registry):
        for sequence in (4, 5, 6):
            pictures.take(session, SESSION, blob(network, sequence))
    assert (tmp_path / "channel/s2-000006.png").exists()
    assert not (tmp_path / "channel/s2-000004.png").exists()
    assert count(registry, "replaced") == 2 and count(registry, "decoded") == 1


async def test_hostile_pictures_are_refused_or_dropped(
    tmp_path: Path, network: ImageChannel, caplog: pytest.LogCaptureFixture
) -> None:
    session, good = new_session(), blob(network, 4)
    other = tiny_network(replace(TINY, hyper_latents=5))
    async with receiving(tmp_path) as (pictures, registry):
        with pytest.raises(MalformedPacket):
            pictures.take(session, SESSION, Blob(SIGNAL, 0, good.data[:40]))
        with caplog.at_level(logging.WARNING):
            for sequence in range(5):
                pictures.take(session, SESSION, blob(other, sequence))
                await pictures.finish()
        assert caplog.text.count("dropped a picture") == 1 and count(registry, "refused") == 6
        # The next one is taken all the same.
        pictures.take(session, SESSION, good)
    assert count(registry, "decoded") == 1


async def test_pictures_are_equal_in_every_run(tmp_path: Path, network: ImageChannel) -> None:
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        async with receiving(out) as (pictures, _):
            pictures.take(new_session(), SESSION, blob(network, 4))
    first, second = ((tmp_path / name / "channel/s2-000004.png").read_bytes() for name in "ab")
    assert first == second
