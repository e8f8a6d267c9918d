"""Every person gets one picture, another one after a change of clothes, and no more."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from common.blobs import MAX_PREVIEW_BYTES, PICTURE, PREVIEW
from common.clock import Clock
from common.frames import Camera, PersonLabels
from common.picture_codec.key_picture import decode
from sender.capture.source import CapturedFrame
from sender.perception.inference.crop import CropBox
from sender.preview.shared import (
    BYTES_PER_S,
    LONGEST_SIDE_PX,
    MAX_JPEG_BYTES,
    SharedPictures,
    SharedPreview,
    small_jpeg,
)

_IMAGE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
_FRAME = CapturedFrame(0, "camera", 5.0, 0.0, _IMAGE, Camera(320, 240, 400.0))


class Scene:
    """People before a camera, one frame every 0.1 s."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pictures = SharedPictures(Clock(monotonic=lambda: self.now_s, wall=lambda: 0.0))

    def frames(
        self, count: int, *identities: int, dressed: float = 0.0, score: float = 0.9, side: int = 128
    ) -> list[int]:
        """Identities of the pictures made in so many frames."""
        made = []
        for _ in range(count):
            self.now_s += 0.1
            crop = CropBox(20, 20, side)
            observed = [SimpleNamespace(identity=each, score=score, crop=crop) for each in identities]
            labels = {"appearance": np.full(24, dressed, np.float32)}
            people = [PersonLabels(each, score, labels) for each in identities]
            blobs = self.pictures.update(_FRAME, observed, people)  # type: ignore[arg-type]
            assert all(blob.kind == PICTURE for blob in blobs) and len(blobs) <= 1
            for blob in blobs:
                picture = decode(blob.data)
                assert picture.image.shape == (side, side, 3) and picture.captured_at == 5.0
            made += [blob.key for blob in blobs]
        return made


def test_each_person_has_one_picture() -> None:
    assert sorted(Scene().frames(60, 4, 9)) == [4, 9]


def test_changed_clothes_make_another_picture_but_not_at_once() -> None:
    scene = Scene()
    assert scene.frames(30, 4) == [4]
    assert scene.frames(60, 4, dressed=2.0) == []
    assert scene.frames(60, 4, dressed=2.0) == [4]
    assert scene.frames(150, 4, dressed=2.1) == []


def test_short_appearances_make_no_picture() -> None:
    scene = Scene()
    assert [key for _ in range(5) for key in scene.frames(10, 4) + scene.frames(1, 4, score=0.2)] == []


@pytest.mark.parametrize(("score", "side"), [(0.3, 128), (0.9, 40)])
def test_doubtful_and_small_people_have_no_picture(score: float, side: int) -> None:
    assert Scene().frames(40, 4, score=score, side=side) == []


def test_identity_that_was_forgotten_gets_a_picture_again() -> None:
    scene = Scene()
    assert scene.frames(20, 4) == [4]
    scene.frames(301)
    assert scene.frames(20, 4) == [4]
    scene.pictures.reset()
    assert scene.frames(20, 4) == [4]


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
    assert max(small.shape[:2]) == min(LONGEST_SIDE_PX, max(height, width))
    # Red rises from left to right; blue is the same everywhere.
    assert small[:, -1, 0].mean() > small[:, 0, 0].mean() + 150
    assert abs(small[..., 2].mean() - 40) < 12


def test_noise_keeps_to_the_limit() -> None:
    jpeg = small_jpeg(np.random.default_rng(1).integers(0, 256, (160, 160, 3), np.uint8))
    assert jpeg is None or len(jpeg) <= MAX_JPEG_BYTES


def test_budget_of_bytes_a_second() -> None:
    now_s = 0.0
    preview = SharedPreview(Clock(monotonic=lambda: now_s, wall=lambda: 0.0))
    image = np.random.default_rng(1).integers(90, 160, (480, 640, 3), np.uint8)
    frame = CapturedFrame(0, "camera", 1000.0, 0.0, image, Camera(640, 480, 700.0))
    sent: list[int] = []
    for tick in range(300):
        now_s = tick / 30
        sent += [len(blob.data) for blob in preview.update(frame, (), ()) if (blob.kind, blob.key) == (PREVIEW, 0)]
    assert 8 <= len(sent) <= 20
    assert sum(sent) <= 10 * BYTES_PER_S + MAX_JPEG_BYTES
