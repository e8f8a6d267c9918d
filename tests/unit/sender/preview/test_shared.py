"""Previews are small, and keep to their budget of bytes."""

import cv2
import numpy as np
import pytest

from common.blobs import MAX_PREVIEW_BYTES, MAX_PREVIEW_PX, PREVIEW
from common.clock import Clock
from common.frames import Camera
from sender.capture.source import CapturedFrame
from sender.lookahead import Perceived
from sender.preview.video import (
    BYTES_PER_S,
    MAX_JPEG_BYTES,
    SharedPreview,
    small_jpeg,
)


def gradient(height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 2] = 40
    return image


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1280, 720), (10, 6000), (7, 5)])
def test_preview_is_a_small_picture_of_the_frame(height: int, width: int) -> None:
    jpeg = small_jpeg(gradient(height, width))
    assert jpeg is not None and jpeg.startswith(b"\xff\xd8\xff") and jpeg.endswith(b"\xff\xd9")
    assert len(jpeg) <= MAX_JPEG_BYTES <= MAX_PREVIEW_BYTES
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    small = decoded[..., ::-1]
    assert max(small.shape[:2]) == min(MAX_PREVIEW_PX, max(height, width))
    # Red rises from left to right; blue is the same everywhere.
    assert small[:, -1, 0].mean() > small[:, 0, 0].mean() + 150
    assert abs(small[..., 2].mean() - 40) < 12


def test_budget_of_bytes_a_second() -> None:
    now_s = 0.0
    preview = SharedPreview(Clock(monotonic=lambda: now_s, wall=lambda: 0.0))
    image = np.random.default_rng(1).integers(90, 160, (480, 640, 3), np.uint8)
    frame = CapturedFrame(0, "camera", 1000.0, 0.0, image, Camera(640, 480, 700.0))
    sent: list[int] = []
    for tick in range(300):
        now_s = tick / 30
        sent += [
            len(blob.data)
            for blob in preview.update(Perceived(frame, (), begins=False), ())
            if (blob.kind, blob.key) == (PREVIEW, 0)
        ]
    assert 8 <= len(sent) <= 20
    assert sum(sent) <= 10 * BYTES_PER_S + MAX_JPEG_BYTES
