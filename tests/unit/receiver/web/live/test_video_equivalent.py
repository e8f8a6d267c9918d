"""What H.264 would need, as the live page shows it."""

import re
from pathlib import Path

import pytest

from common.frames import Camera
from receiver.web.live.video_equivalent import BITS_PER_PIXEL, h264_kbps

RESULTS = Path(__file__).parents[5] / "docs" / "results.md"
VGA = Camera(640, 480, 768.0)


def test_rate_grows_with_frames_and_pixels() -> None:
    assert h264_kbps(VGA, 30.0) == pytest.approx(BITS_PER_PIXEL * 640 * 480 * 30 / 1000)
    assert h264_kbps(VGA, 15.0) == pytest.approx(BITS_PER_PIXEL * 640 * 480 * 15 / 1000)
    assert h264_kbps(Camera(320, 240, 384.0), 30.0) == pytest.approx(BITS_PER_PIXEL * 320 * 240 * 30 / 1000)


def test_larger_pictures_are_scaled_down_before_they_are_sent() -> None:
    assert h264_kbps(Camera(1920, 1080, 2304.0), 30.0) == h264_kbps(VGA, 30.0)


def test_without_frames_there_is_no_rate() -> None:
    assert h264_kbps(VGA, 0.0) is None


def test_rate_is_the_published_one() -> None:
    published = re.search(r"(\d\.\d{4}) ± \d\.\d{4} bits per pixel", RESULTS.read_text(encoding="utf-8"))
    assert published is not None
    assert float(published[1]) == BITS_PER_PIXEL
