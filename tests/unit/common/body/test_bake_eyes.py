"""The eyes of the baked body."""

import numpy as np
import pytest

from common.body.bake_eyes import LID_LOOPS
from common.body.connectivity import vertex_components
from common.body.model import BodyModel


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def eyeballs(body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the left and of the right eyeball: components of 72 vertices."""
    _, component = vertex_components(body.faces.numpy(), len(body.vertex_region))
    balls = [np.flatnonzero(component == number) for number in np.flatnonzero(np.bincount(component) == 72)]
    left, right = sorted(balls, key=lambda ball: -body.rest_vertices[0, ball, 0].mean().item())
    return left, right


@pytest.mark.parametrize("coefficient", [0, 3, 8])
def test_loops_behind_the_lids_lie_on_the_eyeball_of_every_shape(body: BodyModel, coefficient: int) -> None:
    shape = 2.0 * np.eye(1, 10, coefficient, dtype=np.float32)
    vertices = body.rest(body.shape_table.new_tensor(shape))[0][0].numpy()
    for loops, ball in zip(body.eyes.numpy(), eyeballs(body), strict=True):
        low, high = vertices[ball].min(axis=0), vertices[ball].max(axis=0)
        radius = np.linalg.norm((vertices[loops[LID_LOOPS:]] - (low + high) / 2) / ((high - low) / 2), axis=-1)
        np.testing.assert_allclose(radius, 1, atol=0.06)
        assert (vertices[loops[LID_LOOPS:], 2] < (low[2] + high[2]) / 2).all(), "the front of the eyeball"


def test_eye_is_behind_the_edges_of_its_lids(body: BodyModel) -> None:
    vertices = body.rest_vertices[0].numpy()
    for loops in body.eyes.numpy():
        lids, outermost = vertices[loops[0]], vertices[loops[LID_LOOPS]]
        assert lids[:, 2].min() < outermost[:, 2].min()
        assert (vertices[loops[-1], 1] > lids[:, 1].min()).all() and (vertices[loops[-1], 1] < lids[:, 1].max()).all()


def test_loops_do_not_cross(body: BodyModel) -> None:
    """Each loop lies inside the one before, around the centre of the iris."""
    vertices = body.rest_vertices[0].numpy()
    for loops in body.eyes.numpy():
        distance = np.linalg.norm(vertices[loops, :2] - vertices[loops[-1], :2].mean(axis=0), axis=-1)
        assert (np.diff(distance[LID_LOOPS:], axis=0) < 0).all()


def test_eyes_mirror_each_other(body: BodyModel) -> None:
    left, right = body.rest_vertices[0].numpy()[body.eyes.numpy()].mean(axis=(1, 2))
    assert left[0] > 0.02
    np.testing.assert_allclose(right, left * [-1, 1, 1], atol=1e-4)
