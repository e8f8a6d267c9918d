import numpy as np
import pytest

from receiver.mesh.triangle_mesh import is_watertight, signed_volume_m3, vertex_normals
from tests.support.meshes.posed_body import box


def test_is_watertight_detects_a_missing_and_a_flipped_triangle() -> None:
    mesh = box()
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert is_watertight(mesh.faces, len(mesh.vertices))
    assert not is_watertight(mesh.faces[1:], len(mesh.vertices))
    assert not is_watertight(flipped, len(mesh.vertices))


def test_signed_volume_is_negative_for_inward_winding() -> None:
    mesh = box()
    assert signed_volume_m3(mesh.vertices, mesh.faces) == pytest.approx(0.4 * 1.6 * 0.3, rel=1e-4)
    assert signed_volume_m3(mesh.vertices, mesh.faces[:, ::-1]) == pytest.approx(-0.4 * 1.6 * 0.3, rel=1e-4)


def test_vertex_normals_point_outwards_and_have_unit_length() -> None:
    mesh = box()
    normals = vertex_normals(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    outwards = mesh.vertices - mesh.vertices.mean(axis=0)
    assert (np.einsum("vk,vk->v", normals, outwards) > 0.0).all()
