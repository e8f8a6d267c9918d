import numpy as np
import pytest
import scipy.fft

from receiver.surface.stage import Stencil, fit_grid, relative_to_isovalue, solve_indicator
from tests.support.meshes.shapes import sphere


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
