import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from common.arrays import FloatArray
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from receiver.config import SurfaceConfig
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight
from receiver.surface.stage import DetailedPlaces, adaptive_resolution
from tests.support.meshes.shapes import solved, sphere, torus

BODIES = 20


def _trimesh(mesh: SurfaceMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def _is_closed_and_connected(mesh: SurfaceMesh) -> bool:
    checked = _trimesh(mesh)
    return bool(
        checked.is_watertight and checked.is_winding_consistent and checked.body_count == 1 and checked.volume > 0
    )


def _chamfer_mm(mesh: SurfaceMesh, truth: trimesh.Trimesh) -> float:
    ours, theirs = _trimesh(mesh).sample(20000, seed=1), truth.sample(20000, seed=2)
    to_ours, to_theirs = cKDTree(ours).query(theirs)[0], cKDTree(theirs).query(ours)[0]
    return float(500.0 * (to_ours.mean() + to_theirs.mean()))


@pytest.fixture(scope="module")
def bodies() -> tuple[FloatArray, FloatArray, list[trimesh.Trimesh]]:
    """Points and normals of random bodies, both (B, 2048, 3), and their skin meshes."""
    model, generator = BodyModel.load(), torch.Generator().manual_seed(7)
    rotations = axis_angle_to_matrix(0.35 * torch.randn(BODIES, 22, 3, generator=generator))
    shape = torch.randn(BODIES, 10, generator=generator)
    translation = torch.tensor([0.3, -0.1, 3.0]).expand(BODIES, 3)
    curl = 0.5 * torch.rand(BODIES, 4, generator=generator)
    with torch.no_grad():
        vertices = model(BodyParameters(rotations, curl, shape, translation)).vertices
        points, normals = model.surface_points(vertices)
    faces = model.skin_faces.numpy()
    return points.numpy(), normals.numpy(), [trimesh.Trimesh(v, faces, process=False) for v in vertices.numpy()]


def test_reconstruct_sphere() -> None:
    mesh = solved(*sphere())
    radii = np.linalg.norm(mesh.vertices - [0.0, 0.0, 3.0], axis=1)
    assert np.abs(radii - 0.5).max() < 0.004
    assert _is_closed_and_connected(mesh)
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int32


def test_places_with_detail_have_more_vertices_on_the_same_closed_surface() -> None:
    front = DetailedPlaces(*(np.array(each, np.float32) for each in ([[0, 0, 2.5]], [0.1], [0.01])))
    plain, detailed = solved(*sphere()), solved(*sphere(), places=front)
    assert _is_closed_and_connected(detailed)
    assert len(detailed.vertices) > len(plain.vertices) + 200
    assert np.abs(np.linalg.norm(detailed.vertices - [0.0, 0.0, 3.0], axis=1) - 0.5).max() < 0.004


def test_reconstruct_torus_keeps_its_hole() -> None:
    mesh = solved(*torus())
    assert _is_closed_and_connected(mesh)
    assert _trimesh(mesh).euler_number == 0
    ring = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 2]) - 0.6
    assert np.abs(np.hypot(ring, mesh.vertices[:, 1]) - 0.2).mean() < 0.006


def test_areas_improve_a_sphere_of_uneven_density() -> None:
    points, normals = sphere(4096)
    front = points[:, 2] < 3.0
    kept = ~front | (np.arange(len(points)) % 8 == 0)
    points, normals, areas = points[kept], normals[kept], np.where(front[kept], 8.0, 1.0) * np.pi / 4096
    weighted = solved(points, normals, areas.astype(np.float32))
    plain = solved(points, normals, np.full(len(points), np.pi / 4096, np.float32))
    truth = trimesh.creation.icosphere(subdivisions=4, radius=0.5).apply_translation([0.0, 0.0, 3.0])
    assert _chamfer_mm(weighted, truth) < 0.6 * _chamfer_mm(plain, truth)


def test_reconstruct_bodies_watertight(bodies: tuple[FloatArray, FloatArray, list[trimesh.Trimesh]]) -> None:
    for points, normals, truth in list(zip(*bodies, strict=True))[::3]:
        mesh = solved(points, normals)
        assert _is_closed_and_connected(mesh)
        assert 0.4 < np.ptp(mesh.vertices, axis=0).max() < 2.6
        assert _chamfer_mm(mesh, truth) < 6.0


@pytest.mark.parametrize("seed", range(8))
def test_reconstruct_random_points_is_closed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, 3)).astype(np.float32)
    normals = rng.normal(size=(200, 3)).astype(np.float32)
    mesh = solved(points, normals, resolution=48)
    assert is_watertight(mesh.faces, len(mesh.vertices))
    assert _is_closed_and_connected(mesh)


def test_reconstruct_colours_come_from_nearby_points() -> None:
    points, normals = sphere()
    colours = np.where(points[:, :1] < 0.0, [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    mesh = solved(points, normals, colours=colours)
    assert mesh.colours is not None and mesh.colours.dtype == np.uint8
    left, right = mesh.vertices[:, 0] < -0.05, mesh.vertices[:, 0] > 0.05
    assert (mesh.colours[left] == [255, 0, 0]).all() and (mesh.colours[right] == [0, 0, 255]).all()
    between = mesh.colours[~left & ~right]
    assert ((between[:, 0] > 30) & (between[:, 2] > 30)).any()
    assert (between[:, 1] == 0).all()


def test_reconstruct_takes_no_colour_through_a_thin_plate() -> None:
    u, v = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(-0.5, 0.5, 60)]))
    sheet = np.stack([u, v, np.full_like(u, 3.0)], axis=1)
    towards, away = np.array([0.0, 0.0, -1.0]), np.array([0.0, 0.0, 1.0])
    points = np.concatenate([sheet + 0.008 * towards, sheet + 0.008 * away]).astype(np.float32)
    normals = np.repeat([towards, away], len(sheet), axis=0).astype(np.float32)
    colours = np.repeat(np.array([[255, 0, 0], [0, 0, 255]], np.uint8), len(sheet), axis=0)
    mesh = solved(points, normals, np.full(len(points), 1 / 3600, np.float32), colours=colours)
    inner = np.abs(mesh.vertices[:, :2]).max(axis=1) < 0.45
    front = mesh.vertices[:, 2] < 3.0
    assert mesh.colours is not None
    assert (mesh.colours[inner & front] == [255, 0, 0]).all() and (mesh.colours[inner & ~front] == [0, 0, 255]).all()


def test_points_of_zero_area_are_ignored() -> None:
    points, normals = sphere()
    inside, inside_normals = sphere(512, 0.3)
    areas = np.concatenate([np.full(2048, np.pi / 2048), np.zeros(512)]).astype(np.float32)
    both = solved(np.concatenate([points, inside]), np.concatenate([normals, -inside_normals]), areas)
    alone = solved(points, normals, areas[:2048])
    np.testing.assert_array_equal(both.vertices, alone.vertices)


def test_resolution_falls_with_size_and_people() -> None:
    assert adaptive_resolution(128, 1000.0, people=1) == 128
    by_size = [adaptive_resolution(128, size_px, people=1) for size_px in (20.0, 100.0, 130.0, 150.0, 200.0)]
    assert by_size == sorted(by_size) and by_size[0] == 64 and by_size[2] < 128
    by_people = [adaptive_resolution(128, 1000.0, people) for people in (1, 2, 4, 8, 32)]
    assert by_people == sorted(by_people, reverse=True) and by_people[-1] == 64
    assert adaptive_resolution(48, 1000.0, 1) == 48


@pytest.mark.parametrize(
    ("degrade", "message"),
    [
        (lambda p, n, a: (p[:15], n[:15], a[:15]), "at least 16 points"),
        (lambda p, n, a: (p, n, 0 * a), "at least 16 points"),
        (lambda p, n, a: (np.full_like(p, np.nan), n, a), "not finite"),
        (lambda p, n, a: (p, np.full_like(n, np.inf), a), "not finite"),
        (lambda p, n, a: (np.ones_like(p), n, a), "coincide"),
        (lambda p, n, a: (p, np.zeros_like(n), a), "flat"),
    ],
)
def test_reconstruct_rejects_degenerate_input(degrade: object, message: str) -> None:
    assert callable(degrade)
    with pytest.raises(ValueError, match=message):
        solved(*degrade(*sphere(64), np.full(64, np.pi / 64, np.float32)))


def test_invalid_config_is_rejected() -> None:
    with pytest.raises(ValueError, match="grid-resolution"):
        SurfaceConfig(grid_resolution=8)
