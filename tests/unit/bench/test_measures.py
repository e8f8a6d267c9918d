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


def test_feet_that_slide_and_a_path_that_is_off_are_told_from_a_wrong_scale() -> None:
    truth = np.tile(np.random.default_rng(2).normal(size=(17, 3)) + np.array([0.0, 0.0, 4.0]), (20, 1, 1))
    same = measures.in_the_world(truth * 1.1, truth)
    assert same["foot_slide_mm"] == same["depth_acceleration_mm"] == 0 and same["path_mm"] == pytest.approx(0, abs=1e-6)
    assert same["foot_height_mm"] == pytest.approx(0, abs=1e-6) and same["path_unscaled_mm"] > 300
    shaken = truth.copy()
    shaken[::2, :, 0] += 0.01
    assert measures.in_the_world(shaken, truth)["foot_slide_mm"] == pytest.approx(10)
    truth[:, measures.ANKLES] += np.linspace(0, 1, 20)[:, None, None]
    assert np.isnan(measures.in_the_world(truth, truth)["foot_slide_mm"])


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


def test_squared_distance_to_inside_edge_and_corner() -> None:
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points = np.array([[0.2, 0.2, 0.5], [0.5, -2.0, 0.0], [-3.0, -4.0, 0.0], [1.0, 1.0, 0.0]])

    found = measures.squared_distance(points, np.tile(triangle, (4, 1, 1)))

    np.testing.assert_allclose(found, [0.25, 4.0, 25.0, 0.5])


def test_samples_are_uniform_over_area() -> None:
    big, small = np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0]]), np.array([[0, 0, 5], [1, 0, 5], [0, 1, 5]])
    points, normals = Surface(np.concatenate([big, small]), [[0, 1, 2], [3, 4, 5]]).sample(4000, seed=0)

    assert (points[:, 2] == 0).mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(np.abs(normals[:, 2]), 1)


def test_is_watertight_piece() -> None:
    ball, distant = sphere(), sphere(centre=(5, 0, 0))
    faces = np.concatenate([ball.faces, distant.faces + len(ball.vertices)])
    both = np.concatenate([ball.vertices, distant.vertices]), faces

    assert measures.is_watertight_piece(ball.vertices, ball.faces)
    assert not measures.is_watertight_piece(ball.vertices, ball.faces[1:])
    assert not measures.is_watertight_piece(*both)


def test_view_figures_of_equal_and_opposite_images() -> None:
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)

    assert measures.view_mse(picture, picture) == 0.0
    assert measures.view_ssim(picture, picture) == pytest.approx(1)
    assert measures.view_mse(np.zeros_like(picture), np.full_like(picture, 255)) == 1.0
    assert measures.view_ssim(picture, 255 - picture) < 0.1


def test_mean_by_key_skips_missing_values() -> None:
    rows = [{"a": 1.0, "b": float("nan")}, {"a": 3.0, "b": 4.0}, {"a": 5.0, "c": float("nan")}]

    assert measures.mean_by_key(rows) == {"a": 3.0, "b": 4.0}
