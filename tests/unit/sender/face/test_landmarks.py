"""The networks' inputs and outputs, on a picture of a rendered head; without them, the tests are skipped."""

import numpy as np
import pytest

from common.arrays import Image
from common.body.anatomy import FACIAL_ACTIONS
from common.synthetic.renderer import View
from sender.face.landmarks import LEFT_CORNERS, RIGHT_CORNERS, FaceReader
from sender.perception.crop import CropBox
from tests.support.pictures.rendered_heads import Heads, Look

SIDE = 256


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    found = FaceReader.load()
    if found is None:
        pytest.skip("built without MediaPipe's networks")
    return found


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads()


def picture(heads: Heads, *actions: str) -> Image:
    """The mean head, from the front, its eyes in the upper middle."""
    activations = np.isin(FACIAL_ACTIONS, actions).astype(np.float32)
    vertices = heads.vertices(np.zeros(10, np.float32), activations)
    place = np.array([0, -0.03, 0.9], np.float32) - vertices[heads.eye_vertices].mean(axis=0)
    rng = np.random.default_rng(2)
    return heads.render((vertices + place).astype(np.float32), Look.draw(rng), View(SIDE, SIDE, 800.0), rng)


def test_landmarks_lie_on_the_face(reader: FaceReader, heads: Heads) -> None:
    face = reader.read(picture(heads), CropBox(0, 0, SIDE))
    assert face is not None and face.score > 0.9
    left, right = (face.points[list(corners), :2].mean(axis=0) for corners in (LEFT_CORNERS, RIGHT_CORNERS))
    np.testing.assert_allclose(left, [155, 101], atol=5)
    np.testing.assert_allclose(right, [101, 101], atol=5)
    np.testing.assert_allclose(face.iris[:, 0], [left, right], atol=5)
    assert abs(face.roll) < 0.05


def test_nothing_is_no_face(reader: FaceReader) -> None:
    assert reader.read(np.full((SIDE, SIDE, 3), 128, np.uint8), CropBox(0, 0, SIDE), 0.5) is None


def test_lids_and_lips_part_as_they_are_drawn(reader: FaceReader, heads: Heads) -> None:
    def apart(*actions: str) -> tuple[float, list[float]]:
        face = reader.read(picture(heads, *actions), CropBox(0, 0, SIDE))
        assert face is not None
        lips = float(np.linalg.norm(face.points[13, :2] - face.points[14, :2]))
        return lips, [float(np.ptp(lids[:, 1])) for lids in face.lids]

    shut, opened = apart()
    parted, _ = apart("jawOpen")
    assert shut < 1.5 and parted > 12
    _, closed = apart("eyeBlinkLeft")
    assert closed[0] < 0.7 * opened[0] and closed[1] > 0.8 * opened[1]
