"""Entropy model of the latents: a hyperprior gives each of them a Gaussian (Ballé et al. 2018, Minnen et al. 2018).

    y ─ hyper analysis ─ z ─ round ─ hyper synthesis ─ μ, σ        p(y | z) = N(μ, σ²) * U(−½, ½)

z is sent digitally under a factorised prior; from it the receiver knows μ and σ, and so the entropy of every position.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.imaging.grid import HYPER_STRIDE
from common.imaging.transforms import upsampling

_MIN_SCALE = 0.11
_MAX_SCALE = 256.0
_MIN_PROBABILITY = 1e-9


class Statistics(NamedTuple):
    """Of the latents given z: mean and standard deviation (B, latents, H/16, W/16), in float32."""

    mean: Tensor
    scale: Tensor


class FactorisedPrior(nn.Module):
    """Each channel has a distribution of its own: a mixture of logistic distributions, convolved with U(−½, ½).

    Args:
        channels: of z.
        components: of the mixture.
    """

    def __init__(self, channels: int, components: int = 3) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(channels, components))
        self.means = nn.Parameter(torch.linspace(-3.0, 3.0, components).repeat(channels, 1))
        self.log_scales = nn.Parameter(torch.zeros(channels, components))

    def bits(self, z: Tensor) -> Tensor:
        """Information (B, channels, h, w) of whole or noisy values, in bits."""
        centred = z.float()[:, :, None] - self.means[None, :, :, None, None]
        inverse = torch.exp(-self.log_scales)[None, :, :, None, None]
        upper, lower = torch.sigmoid((centred + 0.5) * inverse), torch.sigmoid((centred - 0.5) * inverse)
        weights = self.logits.softmax(1)[None, :, :, None, None]
        probability = (weights * (upper - lower)).sum(2)
        return -torch.log2(probability.clamp_min(_MIN_PROBABILITY))


def hyper_analysis(latents: int, hyper_latents: int, width: int) -> nn.Sequential:
    """Latents to a quarter as many hyper latents in each direction; arguments as for `Hyperprior`."""
    return nn.Sequential(
        nn.Conv2d(latents, width, 3, padding=1, stride=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, width, 3, padding=1, stride=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, hyper_latents, 1),
    )


class Hyperprior(nn.Module):
    """Side information z and what it says about the latents.

    Args:
        latents: channels of y.
        hyper_latents: channels of z.
        width: channels inside.
    """

    def __init__(self, latents: int, hyper_latents: int, width: int) -> None:
        super().__init__()
        self.analysis = hyper_analysis(latents, hyper_latents, width)
        self.synthesis = nn.Sequential(
            upsampling(hyper_latents, width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            upsampling(width, width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * latents, 1),
        )
        self.prior = FactorisedPrior(hyper_latents)

    def statistics(self, z: Tensor) -> Statistics:
        """What hyper latents say about the latents; `z` are whole numbers."""
        mean, log_scale = self.synthesis(z).float().chunk(2, dim=1)
        return Statistics(mean, log_scale.clamp(math.log(_MIN_SCALE), math.log(_MAX_SCALE)).exp())


def rounded(x: Tensor) -> Tensor:
    """Whole numbers with the gradient of the identity (straight-through)."""
    return x + (x.round() - x).detach()


def noisy(x: Tensor) -> Tensor:
    """Uniform noise in place of rounding, for the likelihood in training (Ballé et al. 2017)."""
    return x + torch.rand_like(x) - 0.5


def gaussian_bits(y: Tensor, statistics: Statistics) -> Tensor:
    """−log₂ p(y | z) of every latent, in bits; shape as `y`."""
    distance = (y.float() - statistics.mean).abs()
    upper = torch.special.ndtr((0.5 - distance) / statistics.scale)
    lower = torch.special.ndtr((-0.5 - distance) / statistics.scale)
    return -torch.log2((upper - lower).clamp_min(_MIN_PROBABILITY))


def expected_bits(statistics: Statistics) -> Tensor:
    """Entropy of each position given z (B, H/16, W/16), in bits: the mean of `gaussian_bits`, known at both ends.

    ½ log₂(1 + 2πe σ²) is the entropy of a Gaussian for large σ and goes to zero with σ.
    """
    information = torch.log2(1 + 2 * math.pi * math.e * statistics.scale.square()) / 2
    return information.sum(1)


def padded_for_hyperprior(y: Tensor) -> Tensor:
    """Latents with the last rows and columns repeated up to multiples of `HYPER_STRIDE`."""
    height, width = y.shape[-2:]
    return functional.pad(y, (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE), mode="replicate")
