import numpy as np
import pytest

from common.body.triangles import corner_matrix, triangle_normals
from tests.support.posed_body import box


def test_triangle_normals_have_twice_the_area_of_the_triangles() -> None:
    mesh = box()
    lengths = np.linalg.norm(triangle_normals(mesh.vertices, mesh.faces), axis=1)
    assert lengths.sum() == pytest.approx(2.0 * 2.0 * (0.4 * 1.6 + 0.4 * 0.3 + 1.6 * 0.3), rel=1e-4)


def test_triangle_normals_point_outwards() -> None:
    mesh = box()
    outwards = mesh.vertices[mesh.faces].mean(axis=1) - mesh.vertices.mean(axis=0)
    assert (np.einsum("fk,fk->f", triangle_normals(mesh.vertices, mesh.faces), outwards) > 0.0).all()


def test_corner_matrix_sums_over_the_triangles_around_each_vertex() -> None:
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    corners = corner_matrix(faces, 5)
    np.testing.assert_array_equal(corners @ np.array([1.0, 10.0, 100.0, 1000.0, 10000.0]), [111.0, 1110.0])
    np.testing.assert_array_equal(corners.T @ np.array([1.0, 2.0]), [1.0, 3.0, 3.0, 2.0, 0.0])
