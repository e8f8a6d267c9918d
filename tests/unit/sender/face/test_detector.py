"""The network on rendered heads; without it, the tests are skipped."""

import numpy as np
import pytest

from common.arrays import Image
from common.synthetic.renderer import View
from sender.face.landmarks import FaceDetector
from tests.support.pictures.rendered_heads import Heads, Look


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    found = FaceDetector.load()
    if found is None:
        pytest.skip("built without MediaPipe's networks")
    return found


@pytest.fixture(scope="module")
def picture() -> Image:
    """A head right of the middle of a wide frame."""
    heads, rng = Heads(), np.random.default_rng(2)
    vertices = heads.vertices(np.zeros(10, np.float32), np.zeros(52, np.float32))
    place = np.array([0.1, 0, 0.9], np.float32) - vertices[heads.eye_vertices].mean(axis=0)
    return heads.render((vertices + place).astype(np.float32), Look.draw(rng), View(512, 320, 800.0), rng)


def test_head_is_found_where_it_is(detector: FaceDetector, picture: Image) -> None:
    (face,) = detector.find(picture)
    # The eyes are at the height of the middle, the face below them.
    np.testing.assert_allclose(face.region.centre, [256 + 800 / 9, 180], atol=25)
    assert 170 < face.region.side < 290 and abs(face.region.roll) < 0.1 and face.score > 0.6


def test_nothing_is_no_face(detector: FaceDetector) -> None:
    assert detector.find(np.full((240, 320, 3), 128, np.uint8)) == []
