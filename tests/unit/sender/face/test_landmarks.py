"""The networks' inputs and outputs, on a picture of a rendered head; without them, the tests are skipped."""

import numpy as np
import pytest

from common.arrays import Image
from common.body.anatomy import FACIAL_ACTIONS
from common.synthetic.renderer.renderer import View
from sender.face.landmarks import LEFT_CORNERS, RIGHT_CORNERS, FaceReader
from sender.perception.inference.crop import CropBox
from tests.bench.face.heads import Heads, Look

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


def test_eyes_are_read_by_turns(reader: FaceReader, heads: Heads) -> None:
    def opening(lids: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
        return float(np.ptp(lids[:, 1]))

    region = CropBox(0, 0, SIDE)
    opened = reader.read(picture(heads), region)
    closed = picture(heads, "eyeBlinkLeft", "eyeBlinkRight")
    first = reader.read(closed, region, last=opened)
    second = reader.read(closed, region, last=first)
    assert opened and first and second
    wide = [opening(lids) for lids in opened.lids]
    assert [opening(lids) < 0.6 * most for lids, most in zip(first.lids, wide, strict=True)] == [False, True]
    assert [opening(lids) < 0.6 * most for lids, most in zip(second.lids, wide, strict=True)] == [True, True]
