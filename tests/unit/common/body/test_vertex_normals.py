import numpy as np
import trimesh

from common.body.vertex_normals import VertexNormals


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
