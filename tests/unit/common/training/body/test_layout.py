"""The eyes and the texture layout of the body."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE, LID_LOOPS
from common.body.connectivity import vertex_components
from common.body.model import BodyModel
from common.training.body.texture import bake_texture


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


def test_eye_is_behind_the_edges_of_its_lids_and_its_loops_do_not_cross(body: BodyModel) -> None:
    vertices = body.rest_vertices[0].numpy()
    for loops in body.eyes.numpy():
        lids, outermost = vertices[loops[0]], vertices[loops[LID_LOOPS]]
        assert lids[:, 2].min() < outermost[:, 2].min()
        assert (vertices[loops[-1], 1] > lids[:, 1].min()).all() and (vertices[loops[-1], 1] < lids[:, 1].max()).all()
        # Each loop lies inside the one before, around the centre of the iris.
        distance = np.linalg.norm(vertices[loops, :2] - vertices[loops[-1], :2].mean(axis=0), axis=-1)
        assert (np.diff(distance[LID_LOOPS:], axis=0) < 0).all()
    left, right = vertices[body.eyes.numpy()].mean(axis=(1, 2))
    assert left[0] > 0.02
    np.testing.assert_allclose(right, left * [-1, 1, 1], atol=1e-4)


# Two triangles that mirror each other at x = 0, and a loose one that is not part of the skin.
VERTICES = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [5, 5, 5], [5, 6, 5], [6, 5, 5]], np.float64)
FACES = np.array([[0, 2, 1], [0, 1, 3], [4, 5, 6]])
COORDINATES = np.array(
    [
        [[0.1, 0.1], [0.4, 0.1], [0.1, 0.9]],
        [[0.9, 0.1], [0.9, 0.9], [0.6, 0.1]],
        [[0.2, 0.95], [0.3, 0.95], [0.2, 0.99]],
    ],
    np.float32,
)


@pytest.fixture(scope="module")
def layout() -> dict[str, np.ndarray]:
    return bake_texture(VERTICES, FACES, COORDINATES)


def test_texels_show_the_triangles_of_the_skin_with_v_downwards(layout: dict[str, np.ndarray]) -> None:
    assert set(layout["texel_face"]) == {0, 1}
    assert len(layout["texel"]) / ATLAS_SIZE**2 == pytest.approx(2 * 0.5 * 0.3 * 0.8, rel=0.02)
    # The corner at (0.1, 0.9) of MakeHuman's axes is near the top of the picture.
    np.testing.assert_allclose(layout["texture_coordinates"][0, 2], [0.1, 0.1], atol=1e-6)


def test_barycentric_positions_lead_back_to_the_texel(layout: dict[str, np.ndarray]) -> None:
    corners = layout["texture_coordinates"][layout["texel_face"]]
    found = ATLAS_SIZE * np.einsum("tc,tcd->td", layout["texel_barycentric"], corners) - 0.5
    expected = np.column_stack([layout["texel"] % ATLAS_SIZE, layout["texel"] // ATLAS_SIZE])
    assert np.abs(found - expected).max() < 1.5 and np.median(np.abs(found - expected)) < 1e-3


def test_mirror_texels_are_on_the_other_triangle(layout: dict[str, np.ndarray]) -> None:
    mirror = layout["texel_mirror"]
    has_mirror = mirror >= 0
    assert has_mirror.mean() > 0.98
    positions = np.einsum("tc,tcd->td", layout["texel_barycentric"], VERTICES[FACES[layout["texel_face"]]])
    apart = np.abs(positions[has_mirror] * [-1, 1, 1] - positions[mirror[has_mirror]]).max()
    assert apart < 0.01
    inside = np.abs(positions[:, 0]) > 0.02
    assert (layout["texel_face"][mirror[inside & has_mirror]] != layout["texel_face"][inside & has_mirror]).all()
