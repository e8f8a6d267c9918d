"""Which previews are kept: those that say that they are small JPEGs."""

import io
import json
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL import Image as Pictures
from prometheus_client import CollectorRegistry

from common.blobs import MAX_PREVIEW_BYTES, MAX_PREVIEW_PX, PREVIEW, SIGNAL, Blob
from common.channel.channel import SignalBlob
from common.channel.image_codec import ImageChannel, encode
from common.channel.state import ChannelState
from common.errors import MalformedPacket
from receiver import pictures
from receiver.config import PublishConfig
from receiver.metrics import ReceiverMetrics
from receiver.pictures import ChannelPictures, check_preview
from tests.support.link.counting_codec import new_session
from tests.support.training.tiny_image_channel import TINY, tiny_network


def jpeg(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def claiming(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose head says that it has another size."""
    at = next(content.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in content)
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_small_jpegs_are_kept(mode: str, options: dict[str, Any]) -> None:
    for width, height in ((MAX_PREVIEW_PX, 90), (90, MAX_PREVIEW_PX), (1, 1)):
        check_preview(Blob(PREVIEW, 0, jpeg(width, height, mode, **options)))


@pytest.mark.parametrize("size", [(13_350, 13_350), (65_535, 65_535), (MAX_PREVIEW_PX + 1, 1), (1, 20_000), (64, 0)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_few_bytes_that_claim_another_size_are_refused(size: tuple[int, int], options: dict[str, Any]) -> None:
    content = claiming(jpeg(64, 48, **options), *size)
    assert len(content) < 1000
    with pytest.raises(MalformedPacket):
        check_preview(Blob(PREVIEW, 0, content))


def test_what_is_no_jpeg_or_too_long_is_refused() -> None:
    whole, other = jpeg(64, 48), io.BytesIO()
    Image.new("RGB", (64, 48)).save(other, "PNG")
    for content, why in (
        *((b"", "no JPEG"), (b"\xff\xd8\xff\xe0 a picture \xff\xd9", "no JPEG"), (whole[:-1], "its end is missing")),
        *((whole[:30], "no JPEG"), (other.getvalue(), "no JPEG"), (b"GIF89a" + whole, "no JPEG")),
        (whole[:-2] + bytes(MAX_PREVIEW_BYTES) + whole[-2:], f"previews have up to {MAX_PREVIEW_BYTES}"),
    ):
        with pytest.raises(MalformedPacket, match=why):
            check_preview(Blob(PREVIEW, 0, content))


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
