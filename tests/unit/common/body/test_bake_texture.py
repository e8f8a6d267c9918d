"""The layout of the atlas on a small mesh."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE
from common.body.bake_texture import bake_texture

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


def test_texels_show_the_triangles_of_the_skin(layout: dict[str, np.ndarray]) -> None:
    assert set(layout["texel_face"]) == {0, 1}
    covered = len(layout["texel"]) / ATLAS_SIZE**2
    assert covered == pytest.approx(2 * 0.5 * 0.3 * 0.8, rel=0.02)


def test_barycentric_positions_lead_back_to_the_texel(layout: dict[str, np.ndarray]) -> None:
    corners = layout["texture_coordinates"][layout["texel_face"]]
    found = ATLAS_SIZE * np.einsum("tc,tcd->td", layout["texel_barycentric"], corners) - 0.5
    expected = np.column_stack([layout["texel"] % ATLAS_SIZE, layout["texel"] // ATLAS_SIZE])
    assert np.abs(found - expected).max() < 1.5 and np.median(np.abs(found - expected)) < 1e-3


def test_v_runs_downwards(layout: dict[str, np.ndarray]) -> None:
    """The corner at (0.1, 0.9) of MakeHuman's axes is near the top of the picture."""
    np.testing.assert_allclose(layout["texture_coordinates"][0, 2], [0.1, 0.1], atol=1e-6)


def test_mirror_texels_are_on_the_other_triangle(layout: dict[str, np.ndarray]) -> None:
    mirror = layout["texel_mirror"]
    has_mirror = mirror >= 0
    assert has_mirror.mean() > 0.98
    positions = np.einsum("tc,tcd->td", layout["texel_barycentric"], VERTICES[FACES[layout["texel_face"]]])
    apart = np.abs(positions[has_mirror] * [-1, 1, 1] - positions[mirror[has_mirror]]).max()
    assert apart < 0.01
    inside = np.abs(positions[:, 0]) > 0.02
    assert (layout["texel_face"][mirror[inside & has_mirror]] != layout["texel_face"][inside & has_mirror]).all()
