"""Every person gets one picture, another one after a change of clothes, and no more."""

from types import SimpleNamespace

import numpy as np
import pytest

from common.blobs import PICTURE
from common.clock import Clock
from common.frames import Camera, PersonLabels
from common.picture_codec.key_picture import decode
from sender.capture.source import CapturedFrame
from sender.perception.inference.crop import CropBox
from sender.preview.key_picture import SharedPictures

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
