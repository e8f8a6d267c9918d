import numpy as np
import pytest
import torch

from receiver.decode.geometry_image import curve_order, halving_order, pool, true_levels


def test_halving_order_groups_neighbours_in_runs_of_four() -> None:
    corners = np.array([[x, y, 0.0] for x in (0, 10) for y in (0, 4)], dtype=np.float64)
    points = np.concatenate([corners + offset for offset in [*np.eye(3).tolist(), [0.0, 0.0, 0.0]]])
    order = halving_order(points)
    assert sorted(order) == list(range(16))
    for run in order.reshape(4, 4):
        assert len(set(run % 4)) == 1


def test_halving_order_rejects_a_count_that_is_no_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of two"):
        halving_order(np.zeros((6, 3)))


def test_curve_order_keeps_the_points_of_a_token_together() -> None:
    order = curve_order(np.random.default_rng(0).normal(size=(2048, 3)))
    assert sorted(order) == list(range(2048))
    assert (order.reshape(128, 16) // 16 == np.arange(128)[:, None]).all()


def test_true_levels_of_points_and_of_patches_agree() -> None:
    cloud = torch.randn(2, 2048, 6, generator=torch.Generator().manual_seed(0))
    from_points, from_patches = true_levels(cloud), true_levels(pool(cloud, 512))
    assert [tuple(s.shape) for s in from_points] == [(2, 32, 6), (2, 128, 6), (2, 512, 6)]
    for a, b in zip(from_points, from_patches, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(from_points[2][0, 0], cloud[0, :4].mean(0))
