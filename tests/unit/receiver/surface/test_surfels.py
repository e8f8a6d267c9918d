import numpy as np
import pytest

from receiver.surface.surfels import Surfels, estimated_areas, tangents
from tests.support.shapes import sphere


def test_subdivided_keeps_total_area_and_centroid() -> None:
    points, normals = sphere(200)
    surfels = Surfels(points, normals, np.full(200, np.pi / 200, np.float32))
    small = surfels.subdivided(0.05)
    assert len(small) == 200 * 9
    assert small.areas.sum() == pytest.approx(np.pi, rel=1e-5)
    np.testing.assert_allclose(small.points.mean(axis=0), points.mean(axis=0), atol=1e-5)


def test_subdivided_moves_points_on_their_tangent_planes() -> None:
    points, normals = sphere(200)
    areas = np.where(np.arange(200) < 100, 0.0001, 0.01).astype(np.float32)
    small = Surfels(points, normals, areas).subdivided(0.051)
    moved = small.points[100:].reshape(4, 100, 3) - points[100:]
    np.testing.assert_allclose(np.einsum("kni,ni->kn", moved, normals[100:]), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.abs(moved).max(axis=(0, 2)) > 0.01, True)
    np.testing.assert_array_equal(small.points[:100], points[:100])


def test_tangents_are_orthonormal() -> None:
    normals = np.concatenate([sphere(500)[1], [[0, 0, 1], [0, 0, -1]]]).astype(np.float32)
    basis = np.stack([*tangents(normals), normals], axis=1)
    np.testing.assert_allclose(basis @ basis.transpose(0, 2, 1), np.broadcast_to(np.eye(3), basis.shape), atol=1e-5)


def test_estimated_areas_of_a_sphere() -> None:
    areas = estimated_areas(sphere(2048)[0])
    assert areas.sum() == pytest.approx(np.pi, rel=0.15)
    assert areas.std() < 0.2 * areas.mean()


def test_estimated_areas_of_coincident_points_are_positive() -> None:
    assert estimated_areas(np.ones((20, 3), np.float32)).min() > 0.0
