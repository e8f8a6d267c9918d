"""Training semantics: what the removals of its ablation take away."""

import torch

from sender.semantics.cvae import SemanticCVAE, SemanticsConfig
from sender.train.semantics import remove_learned_prior


def test_removed_prior_is_standard_normal_and_is_not_trained() -> None:
    torch.manual_seed(0)
    model = SemanticCVAE(SemanticsConfig(feature_size=6, latent_size=4, hidden_size=8))
    remove_learned_prior(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        prior = model.prior(torch.randn(5, 6))
        assert prior.mean.abs().max() == 0
        assert prior.log_variance.abs().max() == 0
        loss = model.decode_labels(prior.sample()).square().mean() + model.decode_features(prior.sample()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_removed_prior_makes_labels_independent_of_the_features() -> None:
    model = SemanticCVAE(SemanticsConfig(feature_size=6, latent_size=4, hidden_size=8)).eval()
    first, second = torch.randn(2, 3, 6).unbind(0)
    assert not torch.equal(model(first), model(second))
    remove_learned_prior(model)
    assert torch.equal(model(first), model(second))
