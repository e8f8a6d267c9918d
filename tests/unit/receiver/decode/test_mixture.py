import pytest
import torch
from torch import distributions

from receiver.decode.mixture import GaussianMixture, cholesky_from_raw


def mixture(batch: int = 3, components: int = 4, dimensions: int = 5, seed: int = 0) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, components, dimensions * (dimensions + 1) // 2, generator=generator)
    return GaussianMixture(
        torch.randn(batch, components, generator=generator),
        torch.randn(batch, components, dimensions, generator=generator),
        cholesky_from_raw(3 * raw, dimensions),
    )


def reference(q: GaussianMixture) -> distributions.MixtureSameFamily:
    components = distributions.MultivariateNormal(q.means_BKD, scale_tril=q.cholesky_BKDD)
    return distributions.MixtureSameFamily(distributions.Categorical(logits=q.logits_BK), components)


def test_cholesky_from_raw_is_a_valid_factor() -> None:
    raw = 5 * torch.randn(7, 21, generator=torch.Generator().manual_seed(1))
    factor = cholesky_from_raw(raw, 6)
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    torch.testing.assert_close(torch.linalg.cholesky(factor @ factor.mT), factor, rtol=1e-3, atol=1e-4)


def test_log_prob_equals_torch_distributions() -> None:
    q = mixture()
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(q.log_prob(z), reference(q).log_prob(z))


def test_kl_to_standard_normal_of_one_component_is_exact() -> None:
    q = mixture(components=1)
    normal = distributions.MultivariateNormal(q.means_BKD[:, 0], scale_tril=q.cholesky_BKDD[:, 0])
    standard = distributions.MultivariateNormal(torch.zeros(5), torch.eye(5))
    torch.testing.assert_close(q.kl_to_standard_normal(), distributions.kl_divergence(normal, standard))


def test_kl_to_standard_normal_bounds_the_kl_of_several_components() -> None:
    q = mixture(batch=1)
    torch.manual_seed(3)
    z = reference(q).sample(torch.Size([20_000]))[:, 0]
    standard = distributions.MultivariateNormal(torch.zeros(5), torch.eye(5))
    estimate = (reference(q).log_prob(z.unsqueeze(1))[:, 0] - standard.log_prob(z)).mean()
    assert q.kl_to_standard_normal()[0] >= estimate


def test_sample_has_the_moments_of_the_mixture() -> None:
    single = mixture(batch=1, components=2, dimensions=3)
    many = GaussianMixture(
        *(t.expand(20_000, *t.shape[1:]) for t in (single.logits_BK, single.means_BKD, single.cholesky_BKDD))
    )
    z = many.sample(torch.Generator().manual_seed(4))
    torch.testing.assert_close(z.mean(0), reference(single).mean[0], rtol=0, atol=0.1)
    torch.testing.assert_close(z.var(0), reference(single).variance[0], rtol=0.1, atol=0.1)


def test_sample_depends_on_the_seed_only() -> None:
    q = mixture()
    first, again, other = (q.sample(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sample_passes_gradients_to_means_and_factors() -> None:
    raw = torch.zeros(2, 1, 6, requires_grad=True)
    means = torch.zeros(2, 1, 3, requires_grad=True)
    q = GaussianMixture(torch.zeros(2, 1), means, cholesky_from_raw(raw, 3))
    q.sample(torch.Generator().manual_seed(0)).square().sum().backward()
    assert means.grad is not None and means.grad.abs().sum() > 0
    assert raw.grad is not None and raw.grad.abs().sum() > 0


@pytest.mark.parametrize("heaviest", [0, 2])
def test_mode_is_the_mean_of_the_heaviest_component(heaviest: int) -> None:
    q = mixture()
    logits = torch.zeros(3, 4)
    logits[:, heaviest] = 1.0
    assert torch.equal(GaussianMixture(logits, q.means_BKD, q.cholesky_BKDD).mode(), q.means_BKD[:, heaviest])
