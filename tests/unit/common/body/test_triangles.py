"""Neighbours on a triangle mesh."""

import numpy as np
import pytest
import trimesh

from common.body.triangles import VertexNormals, corner_matrix, neighbour_mean, triangle_normals, vertex_adjacency
from tests.support.meshes.posed_body import box


def test_the_mean_over_the_neighbours_of_a_vertex() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=1)
    mean = neighbour_mean(vertex_adjacency(mesh.faces, len(mesh.vertices))) @ mesh.vertices
    expected = [mesh.vertices[neighbours].mean(axis=0) for neighbours in mesh.vertex_neighbors]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_triangle_normals_have_twice_the_area_of_the_triangles() -> None:
    mesh = box()
    lengths = np.linalg.norm(triangle_normals(mesh.vertices, mesh.faces), axis=1)
    assert lengths.sum() == pytest.approx(2.0 * 2.0 * (0.4 * 1.6 + 0.4 * 0.3 + 1.6 * 0.3), rel=1e-4)


def test_corner_matrix_sums_over_the_triangles_around_each_vertex() -> None:
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    corners = corner_matrix(faces, 5)
    np.testing.assert_array_equal(corners @ np.array([1.0, 10.0, 100.0, 1000.0, 10000.0]), [111.0, 1110.0])
    np.testing.assert_array_equal(corners.T @ np.array([1.0, 2.0]), [1.0, 3.0, 3.0, 2.0, 0.0])


def test_normals_of_a_sphere_point_away_from_its_centre() -> None:
    sphere = trimesh.creation.icosphere(3, 0.7)
    normals = VertexNormals(sphere.faces, len(sphere.vertices))(sphere.vertices.astype(np.float32))
    assert np.einsum("vd,vd->v", normals, sphere.vertices / 0.7).min() > 0.995
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_vertex_without_triangles_has_no_normal() -> None:
    normals = VertexNormals(np.array([[0, 1, 2]]), 4)(np.eye(4, 3, dtype=np.float32))
    assert not normals[3].any() and np.isfinite(normals).all()


def test_areas_sum_to_the_surface_and_are_zero_without_triangles() -> None:
    box = trimesh.creation.box((0.4, 1.6, 0.3))
    vertices = np.concatenate([box.vertices, np.zeros((1, 3))]).astype(np.float32)
    measured = VertexNormals(box.faces, len(vertices))
    normals, areas = measured.with_areas(vertices)
    assert abs(areas.sum() - 2 * (0.4 * 1.6 + 0.4 * 0.3 + 1.6 * 0.3)) < 1e-4
    assert areas[-1] == 0 and areas[:-1].min() > 0
    np.testing.assert_array_equal(normals, measured(vertices))
