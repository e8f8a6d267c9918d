"""Pictures through video codecs, as the benches pass them."""

import numpy as np
import pytest

from common.arrays import Image
from tests.bench.rivals.video import CODECS, H264, VideoCodec, through_video

HEIGHT, WIDTH, FPS = 48, 64, 30


def moving_squares(count: int) -> list[Image]:
    """A bright square that moves over a gradient."""
    pictures = []
    for number in range(count):
        picture = np.repeat(np.linspace(40, 120, WIDTH)[None, :, None], HEIGHT, axis=0).repeat(3, axis=2)
        picture[16:32, 4 * number : 4 * number + 16] = 220
        pictures.append(picture.astype(np.uint8))
    return pictures


def error(decoded: tuple[Image, ...], pictures: list[Image]) -> list[float]:
    """Mean absolute error of each picture, grey levels."""
    pairs = zip(decoded, pictures, strict=True)
    return [float(np.abs(found.astype(int) - picture).mean()) for found, picture in pairs]


every_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


@every_codec
def test_every_picture_comes_back_in_order(codec: VideoCodec) -> None:
    pictures = moving_squares(8)
    video = through_video(codec, pictures, FPS, 10)
    assert len(video.sizes) == len(pictures)
    assert max(error(video.pictures, pictures)) < 3
    # In another order the moving square would be elsewhere.
    assert min(error(video.pictures[::-1], pictures)[:2]) > 5


@every_codec
def test_coarser_factor_costs_fewer_bytes_and_more_error(codec: VideoCodec) -> None:
    pictures = moving_squares(6)
    fine, coarse = (through_video(codec, pictures, FPS, crf) for crf in (10, 50))
    assert sum(fine.sizes) > 1.3 * sum(coarse.sizes)
    assert sum(error(fine.pictures, pictures)) < sum(error(coarse.pictures, pictures))


@every_codec
def test_encoders_signature_is_not_counted(codec: VideoCodec) -> None:
    flat = [np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * 2
    # The signatures of x264 and x265 alone have more than 600 bytes.
    assert sum(through_video(codec, flat, FPS, 30).sizes) < 200


@every_codec
def test_only_the_first_frame_is_a_key_frame(codec: VideoCodec) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    still = [texture] * 40
    sizes = through_video(codec, still, FPS, 20).sizes
    assert max(sizes[1:]) < sizes[0] / 4


def test_missing_encoder_is_named() -> None:
    assert H264.missing is None
    assert "no libx999" in str(VideoCodec("H.999", "libx999", "h264").missing)
