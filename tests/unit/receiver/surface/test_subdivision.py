import numpy as np
import pytest
from skimage.measure import marching_cubes

from common.arrays import FloatArray, Int32Array
from receiver.mesh.triangle_mesh import is_watertight, signed_volume_m3
from receiver.surface.stage import DetailedPlaces, subdivided


@pytest.fixture(scope="module")
def ball() -> tuple[FloatArray, Int32Array]:
    """A coarse closed mesh of a ball of 0.5 m, wound outwards."""
    axes = np.linspace(-0.6, 0.6, 13)
    field = 0.5 - np.linalg.norm(np.stack(np.meshgrid(axes, axes, axes, indexing="ij")), axis=0)
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(0.1,) * 3)
    return (vertices - 0.6).astype(np.float32), np.ascontiguousarray(faces[:, ::-1], np.int32)


def places(*spheres: tuple[float, float, float, float, float]) -> DetailedPlaces:
    """Of x, y, z, radius and edge length."""
    table = np.array(spheres, np.float32)
    return DetailedPlaces(table[:, :3], table[:, 3], table[:, 4])


def edges_of(vertices: FloatArray, faces: Int32Array) -> tuple[FloatArray, FloatArray]:
    """Middles and lengths of all edges."""
    a, b = vertices[faces.ravel()], vertices[faces[:, [1, 2, 0]].ravel()]
    return np.asarray((a + b) / 2, np.float32), np.asarray(np.linalg.norm(b - a, axis=1), np.float32)


def test_mesh_stays_closed_and_keeps_its_volume(ball: tuple[FloatArray, Int32Array]) -> None:
    vertices, faces = subdivided(*ball, places((0, 0, -0.5, 0.2, 0.02), (0.3, 0, -0.4, 0.1, 0.05)))
    assert len(faces) > 1.5 * len(ball[1]) and is_watertight(faces, len(vertices))
    assert signed_volume_m3(vertices, faces) == pytest.approx(signed_volume_m3(*ball), rel=1e-5)


def test_edges_are_short_inside_and_unchanged_outside(ball: tuple[FloatArray, Int32Array]) -> None:
    centre, radius = np.array([0, 0, -0.5]), 0.2
    vertices, faces = subdivided(*ball, places((*centre, radius, 0.05)))
    middles, lengths = edges_of(vertices, faces)
    inside = np.linalg.norm(middles - centre, axis=1) <= radius
    assert lengths[inside].max() <= 0.05
    far = np.linalg.norm(vertices[len(ball[0]) :] - centre, axis=1)
    assert far.max() <= radius + 1e-6
    np.testing.assert_array_equal(vertices[: len(ball[0])], ball[0])


def test_each_place_has_its_own_length(ball: tuple[FloatArray, Int32Array]) -> None:
    fine, coarse = (0.0, 0.0, -0.5, 0.15, 0.02), (0.0, 0.0, 0.5, 0.15, 0.06)
    vertices, faces = subdivided(*ball, places(fine, coarse))
    middles, lengths = edges_of(vertices, faces)
    means = [lengths[np.linalg.norm(middles - sphere[:3], axis=1) < 0.12].mean() for sphere in (fine, coarse)]
    assert means[0] < 0.02 < means[1] < 0.06


def test_place_away_from_the_mesh_changes_nothing(ball: tuple[FloatArray, Int32Array]) -> None:
    vertices, faces = subdivided(*ball, places((5, 5, 5, 0.1, 0.01)))
    np.testing.assert_array_equal(vertices, ball[0])
    np.testing.assert_array_equal(faces, ball[1])
