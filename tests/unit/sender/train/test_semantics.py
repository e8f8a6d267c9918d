"""Training semantics: what removals take away, and what the error of joints trains."""

import torch

from common.labels import group_slices
from sender.semantics.cvae import ENTRIES, SemanticCVAE, SemanticsConfig
from sender.train.semantics import remove_learned_prior, with_shape_held


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


def test_error_of_joints_does_not_train_the_shape() -> None:
    entries = torch.randn(2, ENTRIES, requires_grad=True)
    held = with_shape_held(entries)
    assert torch.equal(held, entries)
    held.square().sum().backward()
    assert entries.grad is not None
    shape = group_slices()["shape"]
    assert not entries.grad[:, shape].any()
    assert entries.grad[:, : shape.start].all() and entries.grad[:, shape.stop :].all()
