import numpy as np
import pytest
import scipy.fft

from receiver.surface.spectral_poisson import fit_grid, locate, sample, solve_indicator, splat
from tests.support.shapes import sphere


def test_fit_grid_has_cubic_voxels_and_padding_on_every_side() -> None:
    points = np.random.default_rng(0).uniform([-0.2, -0.9, 2.8], [0.3, 0.9, 3.1], size=(500, 3)).astype(np.float32)
    grid = fit_grid(points, resolution=96, padding=6)
    nodes = (points - grid.origin) / grid.voxel_m
    assert nodes.min() >= 5.5
    assert ((np.array(grid.shape) - 1 - nodes).min(axis=0) >= 5.5).all()
    assert max(grid.shape) <= 100
    assert all(scipy.fft.next_fast_len(count, real=True) == count for count in grid.shape)


def test_splat_preserves_the_sum_of_each_channel() -> None:
    points, normals = sphere(100)
    grid = fit_grid(points, 48, 4)
    splatted = splat(locate(points, grid), normals + 1.0, grid)
    assert splatted.shape == (3, *grid.shape)
    np.testing.assert_allclose(splatted.sum(axis=(1, 2, 3)), (normals + 1.0).sum(axis=0), rtol=1e-4)


def test_sample_is_exact_for_a_linear_field() -> None:
    points, _ = sphere(100)
    grid = fit_grid(points, 48, 4)
    nodes = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    field = (grid.origin + grid.voxel_m * nodes) @ np.array([1.0, -2.0, 0.5])
    expected = points @ np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(sample(locate(points, grid), field.astype(np.float32)), expected, atol=1e-4)


def test_solve_indicator_recovers_a_function_from_its_gradient() -> None:
    axes = np.meshgrid(*(2.0 * np.pi * np.arange(n) / n for n in (32, 24, 20)), indexing="ij")
    truth = np.cos(axes[0]) * np.sin(axes[1]) + 0.5 * np.cos(axes[2])
    step = [2.0 * np.pi / n for n in (32, 24, 20)]
    gradient = np.stack(
        [
            -np.sin(axes[0]) * np.sin(axes[1]) * step[0],
            np.cos(axes[0]) * np.cos(axes[1]) * step[1],
            -0.5 * np.sin(axes[2]) * step[2],
        ]
    )
    # The field of outward normals is the negated gradient of an indicator that is high inside.
    solved = solve_indicator(-gradient.astype(np.float32), sigma_voxels=0.0)
    np.testing.assert_allclose(solved, truth, atol=1e-4)


def test_solve_indicator_is_high_inside() -> None:
    points, normals = sphere()
    grid = fit_grid(points, 64, 6)
    indicator = solve_indicator(splat(locate(points, grid), normals, grid), sigma_voxels=1.0)
    centre = indicator[grid.shape[0] // 2, grid.shape[1] // 2, grid.shape[2] // 2]
    assert centre > float(sample(locate(points, grid), indicator).mean()) > indicator[0, 0, 0]


def test_fit_grid_when_all_points_are_equal() -> None:
    with pytest.raises(ValueError, match="coincide"):
        fit_grid(np.ones((20, 3), np.float32), 64, 4)
