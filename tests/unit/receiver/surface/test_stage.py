import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
import trimesh
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from common.arrays import FloatArray, Int32Array
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from receiver.config import SurfaceConfig
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight, signed_volume_m3
from receiver.surface.stage import (
    DetailedPlaces,
    Neighbourhood,
    Stencil,
    Surfels,
    adaptive_resolution,
    fit_grid,
    largest_component,
    march,
    refined,
    relative_to_isovalue,
    sampled,
    solve_indicator,
    subdivided,
    taubin_smooth,
)
from tests.support.meshes.shapes import solved, sphere, torus
from tests.support.meshes.skin_points import skin_points


def _ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> FloatArray:
    """Signed distance to a sphere, positive inside."""
    nodes = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.asarray(radius - np.linalg.norm(nodes - np.array(centre), axis=-1), dtype=np.float32)


def test_march_winds_outwards() -> None:
    vertices, faces = march(_ball((32, 32, 32), (15.5, 15.5, 15.5), 10.0), 0.0)
    assert signed_volume_m3(vertices, faces) == pytest.approx(4.0 / 3.0 * np.pi * 10.0**3, rel=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_march_is_watertight_on_random_fields(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(24, 20, 28))
    field = scipy.ndimage.gaussian_filter(noise, 1.0 + 0.1 * seed).astype(np.float32)
    vertices, faces = march(field, float(field.mean()))
    assert is_watertight(faces, len(vertices))


def test_march_when_nodes_equal_the_isovalue() -> None:
    field = np.zeros((16, 16, 16), np.float32)
    field[4:12, 4:12, 4:12] = 0.5
    field[6:10, 6:10, 6:10] = 1.0
    vertices, faces = march(field, 0.5)
    assert is_watertight(faces, len(vertices))
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert areas.min() > 0.0


def test_march_closes_a_surface_that_crosses_the_border() -> None:
    vertices, faces = march(_ball((24, 24, 24), (0.0, 12.0, 12.0), 9.0), 0.0)
    assert is_watertight(faces, len(vertices))


def test_march_rejects_a_flat_field_and_a_level_above_the_maximum() -> None:
    with pytest.raises(ValueError, match="flat"):
        march(np.ones((8, 8, 8), np.float32), 0.0)
    with pytest.raises(ValueError, match="inside"):
        march(_ball((16, 16, 16), (8.0, 8.0, 8.0), 5.0), 100.0)


def test_largest_component_drops_the_smaller_one() -> None:
    field = np.maximum(_ball((48, 32, 32), (15.0, 15.0, 15.0), 10.0), _ball((48, 32, 32), (38.0, 15.0, 15.0), 4.0))
    vertices, faces = march(field, 0.0)
    kept_vertices, kept_faces = largest_component(vertices, faces)
    assert kept_vertices[:, 0].max() < 26.0
    assert 0.05 < 1 - len(kept_faces) / len(faces) < 0.3
    assert is_watertight(kept_faces, len(kept_vertices))


def test_taubin_smooth_reduces_noise_and_keeps_the_volume() -> None:
    vertices, faces = march(_ball((48, 48, 48), (23.5, 23.5, 23.5), 18.0), 0.0)
    noisy = vertices + np.random.default_rng(0).normal(scale=0.3, size=vertices.shape).astype(np.float32)
    smooth = taubin_smooth(noisy, faces, iterations=10)
    deviations = [float(np.linalg.norm(v - 23.5, axis=1).std()) for v in (noisy, smooth)]
    assert deviations[1] < 0.5 * deviations[0]
    assert signed_volume_m3(smooth, faces) == pytest.approx(signed_volume_m3(vertices, faces), rel=0.02)


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


TRIANGLES = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
# Two small triangles' width, and eight times as long.
STRIP = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.8, 0], [0.1, 0.8, 0]], np.float32)
UP = np.tile(np.array([[0, 0, 1]], np.float32), (4, 1))


def strip(areas: tuple[float, ...] = (0.04 / 3, 0.08 / 3, 0.08 / 3, 0.04 / 3)) -> Surfels:
    return Surfels(STRIP, UP, np.array(areas, np.float32))


def test_area_moves_from_the_corners_to_the_samples() -> None:
    left, samples = sampled(strip(), TRIANGLES, 0.2)
    assert len(samples.surfels) == 2 * 4**2
    assert left.areas.sum() + samples.surfels.areas.sum() == pytest.approx(0.08, rel=1e-5)
    assert samples.surfels.areas.sum() == pytest.approx(0.08, rel=1e-5)
    np.testing.assert_allclose(samples.surfels.normals, np.tile([0, 0, 1], (32, 1)), atol=1e-6)
    np.testing.assert_allclose(samples.surfels.points.mean(axis=0), [0.05, 0.4, 0], atol=1e-6)
    # Each of eight slices of the strip has its share.
    assert np.bincount((samples.surfels.points[:, 1] / 0.1).astype(int)).min() >= 2


def test_short_edges_and_corners_without_area_are_left_alone() -> None:
    for surfels, longest_m in ((strip(), 1.0), (strip((0.0, 0.02, 0.02, 0.0)), 0.2)):
        left, samples = sampled(surfels, TRIANGLES, longest_m)
        assert not len(samples.surfels)
        np.testing.assert_array_equal(left.areas, surfels.areas)


@pytest.mark.parametrize("turn", range(3))
def test_any_edge_may_be_the_long_one(turn: int) -> None:
    _, samples = sampled(strip(), np.roll(TRIANGLES, turn, axis=1), 0.803)  # the diagonal only
    assert samples.surfels.areas.sum() == pytest.approx(0.08, rel=1e-5)


def test_samples_have_colours_between_those_of_the_corners() -> None:
    _, samples = sampled(strip(), TRIANGLES, 0.2)
    colours = np.array([[0, 10, 0], [0, 10, 0], [240, 10, 0], [240, 10, 0]], np.uint8)
    found = samples.interpolated(colours)
    np.testing.assert_allclose(found[:, 0], samples.surfels.points[:, 1] / 0.8 * 240, atol=1)
    assert (found[:, 1:] == [10, 0]).all()


def test_a_surface_closes_between_distant_vertices() -> None:
    # A cylinder whose vertices lie at the rims and on the axis only.
    tube = trimesh.creation.cylinder(radius=0.15, height=1.2, sections=96)
    vertices = np.asarray(tube.vertices + np.array([0, 0, 3]), np.float32)
    areas = np.bincount(tube.faces.ravel(), np.repeat(tube.area_faces / 3, 3)).astype(np.float32)
    normals = np.asarray(tube.vertex_normals, np.float32)
    mesh = solved(vertices, normals, areas, faces=tube.faces.astype(np.int32))
    found = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert found.is_watertight and found.volume == pytest.approx(tube.volume, rel=0.1)
    waist = np.abs(found.vertices[:, 2] - 3) < 0.3
    np.testing.assert_allclose(np.linalg.norm(found.vertices[waist, :2], axis=1), 0.15, atol=0.03)


CENTRE = np.array([0.0, 0.0, 3.0], np.float32)


def _sphere_surfels(count: int = 2048) -> Surfels:
    points, normals = sphere(count)
    return Surfels(points, normals, np.full(count, np.pi / count, np.float32))


def test_refined_moves_vertices_onto_a_sphere() -> None:
    vertices, normals = sphere(500, 0.49)
    surfels = _sphere_surfels()
    moved = refined(vertices, Neighbourhood.from_surfels(vertices, normals, surfels), surfels, limit_m=0.02)
    radii = np.linalg.norm(moved - CENTRE, axis=1)
    # Neither the tangent planes (0.2 mm outside) nor the points' chords (0.2 mm inside) bias the result.
    assert np.abs(radii - 0.5).mean() < 1e-4


def test_refined_leaves_distant_vertices() -> None:
    vertices, normals = sphere(500, 0.45)
    surfels = _sphere_surfels()
    moved = refined(vertices, Neighbourhood.from_surfels(vertices, normals, surfels), surfels, limit_m=0.02)
    np.testing.assert_allclose(moved, vertices, atol=1e-6)


def test_refined_leaves_vertices_that_face_the_other_way() -> None:
    vertices, normals = sphere(500, 0.495)
    surfels = _sphere_surfels()
    moved = refined(vertices, Neighbourhood.from_surfels(vertices, -normals, surfels), surfels, limit_m=0.02)
    np.testing.assert_allclose(moved, vertices, atol=1e-6)


def test_blended_colours_are_a_convex_mixture_and_reach_vertices_without_weights() -> None:
    vertices, normals = sphere(500)
    surfels = _sphere_surfels()
    colours = np.random.default_rng(0).integers(40, 200, (2048, 3), dtype=np.uint8)
    for sign in (1, -1):
        blended = Neighbourhood.from_surfels(vertices, np.asarray(sign * normals, np.float32), surfels).blended(colours)
        assert blended.dtype == np.uint8 and blended.min() >= 40 and blended.max() < 200


def test_fit_grid_has_cubic_voxels_and_padding_on_every_side() -> None:
    points = np.random.default_rng(0).uniform([-0.2, -0.9, 2.8], [0.3, 0.9, 3.1], size=(500, 3)).astype(np.float32)
    grid = fit_grid(points, resolution=96, padding=6)
    nodes = (points - grid.origin) / grid.voxel_m
    assert nodes.min() >= 5.5
    assert ((np.array(grid.shape) - 1 - nodes).min(axis=0) >= 5.5).all()
    assert max(grid.shape) <= 100
    assert all(scipy.fft.next_fast_len(count, real=True) == count for count in grid.shape)


def test_splat_keeps_points_that_lie_outside_the_grid() -> None:
    points, _ = sphere(100)
    grid = fit_grid(points, 48, 4)
    assert Stencil(2 * points, grid).splat(np.ones(100, np.float32)).sum() == pytest.approx(100, rel=1e-4)


def test_field_is_zero_at_the_points_of_a_small_and_a_large_ball() -> None:
    big, normals = sphere(4096)
    small = (big - [0, 0, 3]) * 0.03 + [0.0, 0.6, 3.0]
    points, both = np.concatenate([big, small]).astype(np.float32), np.concatenate([normals, normals])
    areas = np.repeat([np.pi / 4096, 0.03**2 * np.pi / 4096], 4096).astype(np.float32)
    grid = fit_grid(points, 64, 4)
    stencil = Stencil(points, grid)
    indicator = solve_indicator(stencil.splat_divergence(both * areas[:, None]))
    level = float(stencil.sample(indicator)[:4096].mean())
    outside = float(indicator[0].mean())
    # The small ball is thinner than three voxels: its indicator stays below the isovalue of the large one.
    assert float(stencil.sample(indicator)[4096:].max()) < level
    at_points = stencil.sample(relative_to_isovalue(indicator, stencil, areas))
    assert np.abs(at_points[:4096]).mean() < 0.05 * (level - outside)
    centre = Stencil(np.array([[0.0, 0.6, 3.0]], np.float32), grid).sample(
        relative_to_isovalue(indicator, stencil, areas)
    )
    assert float(centre[0]) > 0.0


def test_a_part_inside_another_does_not_dent_it() -> None:
    ball, normals = sphere(4096)
    ball -= ball.mean(axis=0)
    # The smaller ball ends one and a half voxels below the surface of the larger one.
    voxel_m = 1 / 63
    inner = 0.4 * ball + np.array([0.3 - 1.5 * voxel_m, 0, 0], np.float32)
    points, both = np.concatenate([ball, inner]), np.concatenate([normals, normals])
    areas = np.repeat([np.pi / 4096, 0.4**2 * np.pi / 4096], 4096).astype(np.float32)
    grid = fit_grid(points, 72, 4)
    stencil = Stencil(points, grid)
    indicator = solve_indicator(stencil.splat_divergence(both * areas[:, None]))
    field = relative_to_isovalue(indicator, stencil, areas)
    # Along the axis of both, outwards through the larger ball's surface.
    axis = np.zeros((200, 3), np.float32)
    axis[:, 0] = np.linspace(0.4, 0.6, 200)
    surface_m = axis[int(np.argmax(Stencil(axis, grid).sample(field) < 0)), 0]
    assert surface_m == pytest.approx(0.5, abs=0.15 * voxel_m)


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
        vertices = model(BodyParameters(rotations, curl, shape, translation)).vertices.numpy()
    points, normals = map(np.stack, zip(*(skin_points(model, each) for each in vertices), strict=True))
    faces = model.skin_faces.numpy()
    return points, normals, [trimesh.Trimesh(each, faces, process=False) for each in vertices]


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
