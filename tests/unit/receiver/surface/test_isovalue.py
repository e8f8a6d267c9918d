import numpy as np
import pytest

from receiver.surface.isovalue import relative_to_isovalue
from receiver.surface.spectral_poisson import Stencil, fit_grid, solve_indicator
from tests.support.shapes import sphere


def test_field_is_zero_at_the_points_of_a_small_and_a_large_ball() -> None:
    big, normals = sphere(4096)
    small = (big - [0, 0, 3]) * 0.03 + [0.0, 0.6, 3.0]
    points, both = np.concatenate([big, small]).astype(np.float32), np.concatenate([normals, normals])
    areas = np.repeat([np.pi / 4096, 0.03**2 * np.pi / 4096], 4096).astype(np.float32)
    grid = fit_grid(points, 64, 4)
    stencil = Stencil(points, grid)
    indicator = solve_indicator(stencil.splat_divergence(both * areas[:, None]), 0.0)
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


def test_field_is_negative_far_outside_and_positive_far_inside() -> None:
    points, normals = sphere()
    grid = fit_grid(points, 64, 6)
    stencil = Stencil(points, grid)
    areas = np.ones(len(points), np.float32)
    field = relative_to_isovalue(solve_indicator(stencil.splat_divergence(normals), 0.0), stencil, areas)
    assert field[0, 0, 0] < 0.0 < field[tuple(count // 2 for count in grid.shape)]
    assert field.dtype == np.float32 and field.shape == pytest.approx(grid.shape)


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
    indicator = solve_indicator(stencil.splat_divergence(both * areas[:, None]), 0.0)
    field = relative_to_isovalue(indicator, stencil, areas)
    # Along the axis of both, outwards through the larger ball's surface.
    axis = np.zeros((200, 3), np.float32)
    axis[:, 0] = np.linspace(0.4, 0.6, 200)
    surface_m = axis[int(np.argmax(Stencil(axis, grid).sample(field) < 0)), 0]
    assert surface_m == pytest.approx(0.5, abs=0.15 * voxel_m)
