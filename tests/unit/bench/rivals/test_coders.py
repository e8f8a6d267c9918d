"""Rivals' streams: what one end encodes, the other decodes."""

from fractions import Fraction

import numpy as np
import pytest

from common.arrays import Image
from sender.capture.images import decode_image
from sender.perception.inference.crop import CropBox
from tests.bench.rivals.coders import SYMBOL_BYTES, VIDEOS, Coder, Still, Symbols, Video
from tests.bench.scenarios.carrier import Item
from tests.bench.scenarios.play import cut_crop, pasted_crop
from tests.support.demo_clip import demo_picture


@pytest.fixture(scope="module")
def picture() -> Image:
    return decode_image(demo_picture()).image


@pytest.mark.parametrize("name", VIDEOS)
def test_video_returns_every_frame_at_once(name: str, picture: Image) -> None:
    coder = Video(VIDEOS[name], 2, 26)
    sizes = []
    for shift in range(3):
        data = coder.encode(np.roll(picture, shift, axis=1))
        sizes.append(len(data))
        assert coder.decode(data).shape == (240, 320, 3)
    assert max(sizes[1:]) < sizes[0]


@pytest.mark.parametrize(
    "coder", [Still("WEBP", 256, 75), Still("AVIF", 256, 65), Symbols(Fraction(1, 16))], ids=["webp", "avif", "symbols"]
)
def test_crop_is_pasted_where_it_was(coder: Coder, picture: Image) -> None:
    whole = Item(0, 0.0, CropBox(-20, 100, 300), picture)
    cut = cut_crop(whole)
    data = coder.encode(cut.content)
    pasted = pasted_crop(cut._replace(content=coder.decode(data))).content
    assert np.abs(pasted[105:395, 5:275].astype(int) - picture[105:395, 5:275]).mean() < 8
    assert (pasted[:, 285:] == pasted[0, 639]).all()


def test_symbols_take_as_long_as_their_channel_uses(picture: Image) -> None:
    crop = picture[:256, :256]
    sizes = [len(Symbols(Fraction(1, rate)).encode(crop)) for rate in (16, 48)]
    assert sizes[0] <= SYMBOL_BYTES * 256 * 256 * 3 / 16
    assert sizes[0] == pytest.approx(3 * sizes[1], rel=0.05)
