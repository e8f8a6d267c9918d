"""Where a face is looked for."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray, Image
from common.body.anatomy import FACIAL_ACTIONS
from common.synthetic.renderer import View
from sender.face.landmarks import (
    LEFT_CORNERS,
    POINTS,
    RIGHT_CORNERS,
    Alignment,
    FaceDetector,
    FaceLandmarks,
    FaceReader,
    face_px,
    region_of_keypoints,
)
from sender.perception.crop import CropBox
from tests.support.pictures.rendered_heads import Heads, Look

UPRIGHT = np.array([[100, 118], [120, 100], [80, 100]], np.float32)


def test_upright_face() -> None:
    region = region_of_keypoints(UPRIGHT)
    assert region.roll == 0
    assert region.centre[0] == pytest.approx(100, abs=1)
    assert 100 < region.centre[1] < 125
    assert face_px(region) == pytest.approx(2.2 * 40, rel=0.1)


def test_region_turns_with_the_face() -> None:
    turned = region_of_keypoints(np.array([[82, 100], [100, 120], [100, 80]], np.float32))
    assert turned.roll == pytest.approx(np.pi / 2)
    assert turned.side == pytest.approx(region_of_keypoints(UPRIGHT).side, abs=1)
    assert turned.centre[0] < 100


def test_face_that_looks_aside_is_behind_its_nose() -> None:
    nose_left = UPRIGHT - np.array([[15, 0], [0, 0], [0, 0]], np.float32)
    assert region_of_keypoints(nose_left).centre[0] > 105


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


TEMPLATE = np.random.default_rng(0).normal(0, 0.05, (POINTS, 3)).astype(np.float32)
ALIGNMENT = Alignment(TEMPLATE, np.ones(POINTS, np.float32))


def face_of(points: FloatArray, gaze: float = 0.0) -> FaceLandmarks:
    """A face whose irises are in the middle of the corners, or pixels aside."""
    corners = np.stack([points[list(LEFT_CORNERS)], points[list(RIGHT_CORNERS)]])[..., :2]
    share = np.linspace(0, 1, 9)
    lower = corners[:, :1] + share[:, None] * (corners[:, 1:] - corners[:, :1])
    lids = np.concatenate([lower, lower[:, 1:8]], axis=1)
    iris = corners.mean(axis=1, keepdims=True).repeat(5, axis=1) + np.array([gaze, 0])
    return FaceLandmarks(points.astype(np.float32), lids, iris, 1.0)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, -0.5, 0.3)])
def test_turned_head_has_no_expression(turn: tuple[float, float, float]) -> None:
    rotation = Rotation.from_euler("xyz", turn).as_matrix().astype(np.float32)
    aligned = ALIGNMENT.align(face_of(400 * TEMPLATE @ rotation.T + np.array([320, 200, 0], np.float32)))
    np.testing.assert_allclose(aligned.features[: 3 * POINTS], 0, atol=1e-3)
    np.testing.assert_allclose(aligned.rotation, rotation, atol=1e-5)
    assert aligned.px_per_m == pytest.approx(400)


def test_openings_are_measured_at_the_scale_of_the_face() -> None:
    points = 400 * TEMPLATE
    for upper, lower in ((81, 178), (82, 87), (13, 14), (312, 317), (311, 402)):
        points[lower] = points[upper] + np.array([0, 4, 0])
    face = face_of(points)
    face.lids[1, 9:, 1] -= 2
    weights = np.ones(POINTS, np.float32)
    weights[[178, 87, 14, 317, 402]] = 0
    aligned = Alignment(TEMPLATE, weights).align(face)
    assert aligned.lips_mm == pytest.approx(10, rel=1e-3)
    np.testing.assert_allclose(aligned.lids_mm, [0, 5], atol=0.01)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    found = FaceDetector.load()
    if found is None:
        pytest.skip("built without MediaPipe's networks")
    return found


@pytest.fixture(scope="module")
def detector_picture() -> Image:
    """A head right of the middle of a wide frame."""
    heads, rng = Heads(), np.random.default_rng(2)
    vertices = heads.vertices(np.zeros(10, np.float32), np.zeros(52, np.float32))
    place = np.array([0.1, 0, 0.9], np.float32) - vertices[heads.eye_vertices].mean(axis=0)
    return heads.render((vertices + place).astype(np.float32), Look.draw(rng), View(512, 320, 800.0), rng)


def test_head_is_found_where_it_is(detector: FaceDetector, detector_picture: Image) -> None:
    (face,) = detector.find(detector_picture)
    # The eyes are at the height of the middle, the face below them.
    np.testing.assert_allclose(face.centre, [256 + 800 / 9, 180], atol=25)
    assert 170 < face.side < 290 and abs(face.roll) < 0.1


def test_detector_nothing_is_no_face(detector: FaceDetector) -> None:
    assert detector.find(np.full((240, 320, 3), 128, np.uint8)) == []
