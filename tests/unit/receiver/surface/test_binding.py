import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.binding import PosedTemplate, SurfaceBinding, nearest_places
from tests.support.meshes.shapes import solved, sphere

NOBODY_TURNED = np.eye(3, dtype=np.float32)[None]
QUARTER_TURN: FloatArray = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]], np.float32)


@pytest.fixture(scope="module")
def template() -> SurfaceMesh:
    """A fine sphere."""
    mesh = solved(*sphere(), resolution=96)
    colours = np.where(mesh.vertices[:, :1] < 0, [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    return SurfaceMesh(mesh.vertices, mesh.faces, colours)


@pytest.fixture(scope="module")
def mesh() -> SurfaceMesh:
    """A coarse sphere around the same centre."""
    return solved(*sphere(), resolution=48)


def bound(mesh: SurfaceMesh, template: SurfaceMesh, smoothing_iterations: int) -> SurfaceBinding:
    weights = np.ones((len(template.vertices), 1), np.float32)
    posed = PosedTemplate(template.vertices, NOBODY_TURNED, weights, template.faces)
    return SurfaceBinding.bind(mesh, posed, smoothing_iterations)


def carried(binding: SurfaceBinding, vertices: FloatArray, rotations: FloatArray) -> FloatArray:
    """The mesh of the second of two people; the first is somewhere else."""
    both = (torch.from_numpy(np.stack([each + 1, each])) for each in (vertices, rotations))
    return np.asarray(binding.carrying(*both)[1].numpy())


@pytest.mark.parametrize("smoothing_iterations", [0, 1])
def test_mesh_is_itself_in_the_pose_that_it_was_bound_in(
    mesh: SurfaceMesh, template: SurfaceMesh, smoothing_iterations: int
) -> None:
    found = carried(bound(mesh, template, smoothing_iterations), template.vertices, NOBODY_TURNED)
    np.testing.assert_allclose(found, mesh.vertices, atol=1e-6)


@pytest.mark.parametrize("smoothing_iterations", [0, 1])
def test_mesh_turns_and_moves_with_the_template(
    mesh: SurfaceMesh, template: SurfaceMesh, smoothing_iterations: int
) -> None:
    step = np.array([0.3, -0.2, 1.0], np.float32)
    turned, expected = (vertices @ QUARTER_TURN[0].T + step for vertices in (template.vertices, mesh.vertices))
    found = carried(bound(mesh, template, smoothing_iterations), turned, QUARTER_TURN)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mesh_follows_a_template_that_grows(mesh: SurfaceMesh, template: SurfaceMesh) -> None:
    thicker = template.vertices + np.float32(0.05) * vertex_normals(template.vertices, template.faces)
    found = carried(bound(mesh, template, 1), thicker, NOBODY_TURNED)
    radii = np.linalg.norm(found - [0.0, 0.0, 3.0], axis=1)
    assert np.abs(radii - 0.55).max() < 0.006


def test_vertices_take_the_colours_of_their_places(mesh: SurfaceMesh, template: SurfaceMesh) -> None:
    assert template.colours is not None
    colours = bound(mesh, template, 1).coloured(template.colours)
    for side, colour in ((mesh.vertices[:, 0] < -0.02, [255, 0, 0]), (mesh.vertices[:, 0] > 0.02, [0, 0, 255])):
        assert (colours[side] == colour).all()


def test_place_is_on_a_triangle_that_faces_the_same_way() -> None:
    """Of a thin sheet, the near side faces away from the point's normal."""
    side: FloatArray = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    vertices = np.concatenate([side, side + np.array([0, 0, -0.01], np.float32)])
    faces = np.array([[0, 1, 2], [3, 5, 4]], np.int32)
    point: FloatArray = np.array([[0.2, 0.2, 0.01]], np.float32)
    down: FloatArray = np.array([[0, 0, -1]], np.float32)
    for normal, triangle in ((-down, 0), (down, 1)):
        assert nearest_places(point, normal, vertices, faces)[0].tolist() == [triangle]
