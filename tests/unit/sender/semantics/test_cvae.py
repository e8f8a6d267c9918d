import torch

from sender.semantics.cvae import (
    ENTRIES,
    Discriminator,
    SemanticCVAE,
    SemanticsConfig,
    discriminator_loss,
    generator_loss,
)
from sender.semantics.lifting.layers import Gaussian

SMALL = SemanticsConfig(feature_size=12, latent_size=16, hidden_size=32)


def test_kl_agrees_with_torch_and_is_zero_between_equals() -> None:
    first = Gaussian(torch.randn(4, 8), torch.randn(4, 8))
    second = Gaussian(torch.randn(4, 8), torch.randn(4, 8))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(first.mean, (0.5 * first.log_variance).exp()),
        torch.distributions.Normal(second.mean, (0.5 * second.log_variance).exp()),
    ).sum(-1)
    torch.testing.assert_close(first.kl_to(second), expected)
    torch.testing.assert_close(first.kl_to(first), torch.zeros(4))


def test_labels_depend_on_features_only_through_the_latent() -> None:
    torch.manual_seed(0)
    model = SemanticCVAE(SMALL).eval()
    features = torch.randn(2, 12)
    z = model.prior(model.standardise(features)).mean
    torch.testing.assert_close(model(features), model.decode_labels(z))
    assert not torch.allclose(model(features)[0], model(features)[1])


def test_discriminator_separates_matching_from_shuffled_pairs() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(SMALL)
    features = torch.randn(128, 12)
    labels = features @ torch.randn(12, ENTRIES)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    for _ in range(60):
        loss = discriminator_loss(discriminator(features, labels), discriminator(features, labels.roll(1, 0)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert discriminator(features, labels).mean() > discriminator(features, labels.roll(1, 0)).mean() + 0.1


def test_losses_of_correct_logits_are_small() -> None:
    logits = torch.full((4,), 20.0)
    assert discriminator_loss(logits, -logits) < 1e-6
    assert generator_loss(logits) < 1e-6
    assert generator_loss(-logits) > 10
