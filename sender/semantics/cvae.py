"""The conditional variational autoencoder that turns features X into semantic labels y', and its discriminator.

    training:   X, y ── q(z|X,y) (8) ──┐
                X ───── p(z|X) ────────┴─ z ── μ_θ(z) → X̃,  π_θ(z) → y  (9)
    inference:  X ───── p(z|X) ── mean z ──── π_θ(z) → y'

Trained with L_com (11).  As inference has only the prior's z, the same likelihood on z ~ p(z|X) is added (the Gaussian
stochastic network objective of Sohn et al. 2015).  The discriminator (10) classifies pairs of features and labels; its
loss is the non-saturating logistic one with spectral normalisation (Miyato et al. 2018), a stable form of the paper's
log D + log(1 − D).

Shapes: B people, F features, E = 80 entries (all groups but `appearance` and `surface`), K bins, Z latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from common.labels import group_slices
from sender.semantics.categorical import BINS
from sender.semantics.lifting.layers import Gaussian, ResidualMLP

ENTRIES = group_slices()["appearance"].start


@dataclass(frozen=True, slots=True)
class SemanticsConfig:
    """Sizes of the CVAE.

    Args:
        feature_size: F, length of the feature vector X.
        latent_size: Z.
        hidden_size: width of every hidden layer.
    """

    feature_size: int
    latent_size: int = 96
    hidden_size: int = 512

    def __post_init__(self) -> None:
        if min(self.feature_size, self.latent_size, self.hidden_size) < 1:
            raise ValueError("feature_size, latent_size and hidden_size must be positive")


class SemanticCVAE(nn.Module):
    """q(z|X,y), p(z|X), μ_θ(z) and π_θ(z) of (8) and (9); features are first standardised with stored statistics."""

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, config: SemanticsConfig) -> None:
        super().__init__()
        self.config = config
        features, latent, hidden = config.feature_size, config.latent_size, config.hidden_size
        self.posterior_net = ResidualMLP(features + ENTRIES, 2 * latent, hidden)
        self.prior_net = ResidualMLP(features, 2 * latent, hidden, blocks=3, dropout=0.1)
        self.feature_net = ResidualMLP(latent, features, hidden, blocks=1)
        self.label_net = ResidualMLP(latent, ENTRIES * BINS, hidden, blocks=2)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))

    def standardise(self, features: Tensor) -> Tensor:
        """(B, F) raw features → zero mean and unit variance over the training set, clamped to ±5 deviations."""
        return ((features - self.feature_mean) / self.feature_scale).clamp(-5, 5)

    def posterior(self, standardised: Tensor, labels: Tensor) -> Gaussian:
        """q(z|X,y) (8)."""
        return Gaussian.of(self.posterior_net(torch.cat([standardised, labels], dim=-1)))

    def prior(self, standardised: Tensor) -> Gaussian:
        """p(z|X), learned, because inference has only X."""
        return Gaussian.of(self.prior_net(standardised))

    def decode_features(self, z: Tensor) -> Tensor:
        """μ_θ(z): (B, Z) → standardised features (B, F)."""
        features: Tensor = self.feature_net(z)
        return features

    def decode_labels(self, z: Tensor) -> Tensor:
        """π_θ(z): (B, Z) → logits (B, E, K)."""
        logits: Tensor = self.label_net(z)
        return logits.reshape(len(z), ENTRIES, BINS)

    def forward(self, features: Tensor) -> Tensor:
        """Inference: raw features (B, F) → logits (B, E, K) at the prior's mean."""
        return self.decode_labels(self.prior(self.standardise(features)).mean)


class Discriminator(nn.Module):
    """D of (10): logits (B,) that a pair of features (B, F) and labels (B, E) is real."""

    def __init__(self, config: SemanticsConfig) -> None:
        super().__init__()
        hidden = config.hidden_size // 2
        self.layers = nn.Sequential(
            spectral_norm(nn.Linear(config.feature_size + ENTRIES, hidden)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(hidden, hidden)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(hidden, 1)),
        )

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat([features, labels], dim=-1))
        return logits[:, 0]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−log D(real) − log(1 − D(fake)) from logits (B,)."""
    return (F.softplus(-real) + F.softplus(fake)).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """−log D(fake), the non-saturating form."""
    return F.softplus(-fake).mean()
