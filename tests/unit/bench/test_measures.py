import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from tests.bench import measures
from tests.bench.measures import Surface


def sphere(radius: float = 1.0, centre: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    ball: trimesh.Trimesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    ball.apply_translation(centre)
    return ball


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    return Surface(mesh.vertices, mesh.faces)


def plane(height: float, size: float = 10.0, cells: int = 20) -> Surface:
    """A square grid at a height; planes directly above each other have no border effects."""
    x, y = np.meshgrid(np.linspace(0, size, cells + 1), np.linspace(0, size, cells + 1), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], 1)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    corners = np.stack([first, first + 1, first + cells + 1, first + cells + 2], 1)
    return Surface(vertices, np.concatenate([corners[:, [0, 2, 1]], corners[:, [1, 2, 3]]]))


def test_procrustes_inverts_a_similarity_and_does_not_mirror() -> None:
    truth = np.random.default_rng(1).normal(size=(17, 3))
    turned = 0.7 * truth @ Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix().T + [1.0, -2.0, 5.0]
    np.testing.assert_allclose(measures.procrustes(turned, truth), truth, atol=1e-10)
    assert measures.mean_distance_mm(measures.procrustes(truth * [-1, 1, 1], truth), truth) > 100


def test_distances_are_in_millimetres_and_centred_is_independent_of_position() -> None:
    assert measures.mean_distance_mm(np.zeros((5, 3)), np.tile([0.003, 0.0, 0.004], (5, 1))) == pytest.approx(5)
    keypoints = np.random.default_rng(3).normal(size=(17, 3))
    points = np.random.default_rng(4).normal(size=(50, 3))
    np.testing.assert_allclose(measures.centred(keypoints + 3, points + 3), measures.centred(keypoints, points))


def test_surface_distances_of_shifted_planes_concentric_spheres_and_a_mesh_to_itself() -> None:
    planes = measures.surface_distances(plane(0.0), plane(0.25))
    assert (planes["chamfer_mm"], planes["p2s_mm"]) == pytest.approx((250, 250), rel=1e-6)
    assert planes["normal_consistency"] == pytest.approx(1)
    ball = surface_of(sphere())
    spheres = measures.surface_distances(ball, surface_of(sphere(1.1)))
    assert spheres["chamfer_mm"] == pytest.approx(100, rel=0.01)
    assert spheres["normal_consistency"] > 0.99
    assert measures.surface_distances(ball, ball, samples=500)["chamfer_mm"] < 1e-3, "no sampling floor"
