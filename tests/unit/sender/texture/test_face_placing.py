"""The head of a posed body laid where the landmarks are."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.body.model import BodyModel, BodyParameters
from common.frames import Camera
from sender.face.actions import FaceActions
from sender.face.landmarks import FaceLandmarks
from sender.texture.face_placing import FacePlacing

CAMERA = Camera(640, 480, 500.0)
AT_PX, PX_PER_M = np.array([250.0, 180.0], np.float32), 600.0
LIPS = (0, 13, 14, 17, 61, 291)


@pytest.fixture(scope="module")
def placing(model: BodyModel) -> FacePlacing:
    network = FaceActions.load()
    return FacePlacing.on_body(model, network.template.numpy(), network.weights.numpy())


@pytest.fixture(scope="module")
def posed(model: BodyModel) -> FloatArray:
    """At rest, two metres from the camera."""
    parameters = dataclasses.replace(BodyParameters.rest(), translation=model.rest_joints.new_tensor([[0.1, 0.7, 2.0]]))
    return np.asarray(model(parameters).vertices[0].numpy(), np.float32)


def face_of(placing: FacePlacing, rotation: FloatArray, open_px: float = 8.0) -> FaceLandmarks:
    """A turned face with wide lids, seen from afar."""
    points = PX_PER_M * placing.template @ rotation.T
    points[:, :2] += AT_PX
    iris = np.asarray((PX_PER_M * placing.pupils @ rotation.T)[:, :2] + AT_PX, np.float32)
    across = np.concatenate([np.linspace(-12, 12, 9), np.linspace(-12, 12, 9)[1:-1]])
    down = np.concatenate([np.full(9, open_px), np.full(7, -open_px)]) * (1 - np.square(across / 12))
    lids = (iris[:, None] + np.column_stack([across, down])).astype(np.float32)
    return FaceLandmarks(np.asarray(points, np.float32), lids, iris[:, None].repeat(5, axis=1), 1.0)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, -0.5, 0.3)])
def test_head_is_laid_where_its_landmarks_are(
    placing: FacePlacing, posed: FloatArray, turn: tuple[float, float, float]
) -> None:
    rotation = Rotation.from_euler("xyz", turn).as_matrix().astype(np.float32)
    placed = placing.placed(posed, face_of(placing, rotation), CAMERA)
    head = placing.shares[:, 0] == 1
    expected = PX_PER_M * (placing.rest[head] @ rotation.T)[:, :2] + AT_PX
    np.testing.assert_allclose(CAMERA.project(placed[placing.vertices[head]]), expected, atol=0.05)
    assert placed[placing.vertices, 2].mean() == pytest.approx(posed[placing.vertices, 2].mean(), abs=0.03)
    trunk = np.setdiff1d(np.arange(len(posed)), placing.vertices)
    np.testing.assert_array_equal(placed[trunk], posed[trunk])


def test_lips_follow_their_landmarks_and_eyes_stay(placing: FacePlacing, posed: FloatArray) -> None:
    face = face_of(placing, np.eye(3, dtype=np.float32))
    moved_points = face.points.copy()
    moved_points[list(LIPS), 1] += 6
    lower = dataclasses.replace(face, points=moved_points)
    before, after = (CAMERA.project(placing.placed(posed, each, CAMERA))[placing.vertices] for each in (face, lower))
    moved = (after - before)[:, 1]
    at_lips = np.array([placing.between[:, [mark]].toarray()[:, 0].argmax() for mark in LIPS])
    assert (moved[at_lips] > 3).all()
    assert np.abs(moved[np.concatenate(placing.eyes)]).max() < 1


def eyes_hidden(placing: FacePlacing, placed: FloatArray, face: FaceLandmarks | None) -> int:
    hidden = placing.hidden(placed, face, CAMERA)
    return len(np.intersect1d(hidden, placing.vertices[np.concatenate(placing.eyes)]))


def test_lids_cover_eyeballs(placing: FacePlacing, posed: FloatArray) -> None:
    covered = []
    for open_px in (8.0, 1.0, 0.0):
        face = face_of(placing, np.eye(3, dtype=np.float32), open_px)
        covered.append(eyes_hidden(placing, placing.placed(posed, face, CAMERA), face))
    assert covered[0] < covered[1] < covered[2] == sum(map(len, placing.eyes))


def test_eyes_of_small_faces_and_of_those_that_were_not_read_are_hidden(
    placing: FacePlacing, posed: FloatArray
) -> None:
    face = face_of(placing, np.eye(3, dtype=np.float32))
    small = dataclasses.replace(face, points=(face.points / 4).astype(np.float32))
    for each in (small, None):
        assert eyes_hidden(placing, posed, each) == sum(map(len, placing.eyes))


def test_side_of_a_face_that_is_turned_away_is_hidden(placing: FacePlacing, posed: FloatArray) -> None:
    turned = face_of(placing, Rotation.from_euler("y", 0.6).as_matrix().astype(np.float32))
    hidden = np.isin(placing.vertices, placing.hidden(posed, turned, CAMERA))[placing.among]
    left = placing.rest[placing.among, 0] > 0.03
    right = placing.rest[placing.among, 0] < -0.03
    assert sorted((hidden[left].mean() > 0.5, hidden[right].mean() > 0.5)) == [False, True]
