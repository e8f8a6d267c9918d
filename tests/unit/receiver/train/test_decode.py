import math

import pytest
import torch

from receiver.decode.mixture import GaussianMixture, cholesky_from_raw
from receiver.decode.network import PrincipalAxes, channel_units
from receiver.train.decode import LossWeights, balance_loss, diversity_loss, kl_to_arrived, level_error


def test_level_error_is_the_squared_distance_of_the_patches() -> None:
    s = torch.randn(200, 2, 6, generator=torch.Generator().manual_seed(0))
    level = PrincipalAxes(patches=2, axes=12)
    level.fit(s)
    error = level_error(level, level.project(s[:3]), level.project(s[3:6]))
    direct = ((s[:3] - s[3:6]) / channel_units(s)).square().mean()
    torch.testing.assert_close(error, direct, rtol=1e-3, atol=1e-3)


def test_diversity_loss_is_lower_for_latents_that_are_far_apart() -> None:
    z = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    assert diversity_loss(2 * z) < diversity_loss(z) < diversity_loss(0.1 * z)


def test_balance_loss_is_zero_for_equal_weights_and_largest_for_one_component() -> None:
    assert balance_loss(10 * torch.eye(4)).item() == pytest.approx(0.0, abs=1e-3)
    assert balance_loss(torch.tensor([[50.0, 0, 0, 0]])).item() == pytest.approx(math.log(4), abs=1e-3)


def gaussian(mean: float, raw: float) -> GaussianMixture:
    means = torch.full((64, 1, 3), mean, requires_grad=True)
    return GaussianMixture(torch.zeros(64, 1), means, cholesky_from_raw(torch.full((64, 1, 6), raw), 3))


def test_kl_to_arrived_is_zero_for_equal_mixtures_and_grows_with_distance() -> None:
    whole = gaussian(0.0, 0.0)
    z = whole.sample(torch.Generator().manual_seed(0))
    same, near, far = (kl_to_arrived(whole, gaussian(mean, 0.0), z).item() for mean in (0.0, 0.5, 2.0))
    assert same == pytest.approx(0.0, abs=1e-5)
    assert same < near < far


def test_kl_to_arrived_passes_gradients_to_the_prior_only() -> None:
    whole, arrived = gaussian(0.0, 0.0), gaussian(1.0, 0.0)
    kl_to_arrived(whole, arrived, whole.sample(torch.Generator().manual_seed(0))).backward()
    assert arrived.means_BKD.grad is not None
    assert whole.means_BKD.grad is None


def test_negative_weights_are_rejected() -> None:
    with pytest.raises(ValueError, match="negative"):
        LossWeights(kl=-1.0)
