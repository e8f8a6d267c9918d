"""Faces in the frame of the head."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from sender.face.landmarks import LEFT_CORNERS, POINTS, RIGHT_CORNERS, Alignment, FaceLandmarks

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
