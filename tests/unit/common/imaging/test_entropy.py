"""The entropy model of latents."""

import pytest
import torch

from common.imaging.entropy import (
    FactorisedPrior,
    Hyperprior,
    Statistics,
    expected_bits,
    gaussian_bits,
    padded_for_hyperprior,
    rounded,
)


def probabilities(bits: torch.Tensor) -> torch.Tensor:
    return 2.0**-bits


@pytest.mark.parametrize("scale", [0.3, 1.0, 6.0])
def test_gaussian_probabilities_of_whole_numbers_sum_to_one(scale: float) -> None:
    values = torch.arange(-60.0, 61.0)
    statistics = Statistics(torch.full_like(values, 0.3), torch.full_like(values, scale))
    assert float(probabilities(gaussian_bits(values, statistics)).sum()) == pytest.approx(1.0, abs=1e-4)


def test_prior_probabilities_of_whole_numbers_sum_to_one() -> None:
    torch.manual_seed(0)
    prior = FactorisedPrior(2)
    with torch.no_grad():
        prior.logits.normal_()
        prior.log_scales.normal_(std=0.3)
    z = torch.arange(-60.0, 61.0).expand(1, 2, 1, -1)
    assert probabilities(prior.bits(z)).sum(-1).flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_expected_bits_are_the_mean_of_what_latents_take(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    y = (torch.randn(1, 40, 50, 50, generator=generator) * scale).round()
    statistics = Statistics(torch.zeros_like(y), torch.full_like(y, scale))
    measured = float(gaussian_bits(y, statistics).sum(1).mean())
    assert float(expected_bits(statistics).mean()) == pytest.approx(measured, rel=0.06)
    certain = Statistics(statistics.mean, torch.full_like(y, 0.11))
    assert float(expected_bits(certain).max()) < 8.0, "nothing is uncertain"


def test_statistics_have_the_latents_shape_and_positive_scales() -> None:
    hyperprior = Hyperprior(6, 4, 8)
    y = padded_for_hyperprior(torch.randn(2, 6, 5, 7))
    mean, scale = hyperprior.statistics(rounded(hyperprior.analysis(y)))
    assert y.shape == mean.shape == scale.shape == (2, 6, 8, 8)
    assert (scale > 0).all()


def test_rounding_passes_the_gradient_on() -> None:
    x = torch.tensor([0.4, 1.6], requires_grad=True)
    rounded(x).sum().backward()
    assert rounded(x).tolist() == [0.0, 2.0]
    assert x.grad is not None and x.grad.tolist() == [1.0, 1.0]
