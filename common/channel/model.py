"""The image channel: transforms, entropy model and joint source-channel coding in one network (LRISC, Yin et al. 2025).

x ─ analysis ─ y ─────────────────── JSCC encoder ─ s ═ channel ═ ŝ ─ JSCC decoder ─ ŷ ─ synthesis ─ x̂
               └─ hyperprior ─ z ─ μ, σ ─┴─ lengths k ─────────────────────┘
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.channel.expected_error import error_curves
from common.channel.jscc import JsccDecoder, JsccEncoder
from common.channel.lengths import allocated_lengths
from common.imaging.entropy import Hyperprior, Statistics, gaussian_bits, noisy, padded_for_hyperprior, rounded
from common.imaging.transforms import LATENT_SCALE, Analysis, Synthesis

COST_POWER = 0.6
"""Of a position's squared error.  The error itself would starve smooth positions: on held-back photographs that gains
0.1 dB over lengths by entropy, but perceptual distances grow by 1 to 4 %.  With 0.6 neither is worse."""


@dataclass(frozen=True, slots=True)
class ImageChannelConfig:
    """Sizes.

    Args:
        widths: channels at 1/4, 1/8 and 1/16.
        latents: channels of y.
        hyper_latents: channels of z.
        hyper_width: channels inside the hyperprior.
        encoder_depth: residual blocks of the JSCC encoder.
        decoder_depth: residual blocks of the JSCC decoder.
    """

    widths: tuple[int, int, int] = (96, 192, 320)
    latents: int = 192
    hyper_latents: int = 48
    hyper_width: int = 128
    encoder_depth: int = 3
    decoder_depth: int = 4


class Source(NamedTuple):
    """What the sender knows of pictures.

    Args:
        y: latents (B, latents, H/16, W/16).
        statistics: what the receiver knows of them.
        z: unrounded hyper latents.
    """

    y: Tensor
    statistics: Statistics
    z: Tensor

    def first(self, count: int) -> "Source":
        """The first `count` pictures."""
        mean, scale = self.statistics
        return Source(self.y[:count], Statistics(mean[:count], scale[:count]), self.z[:count])


class ImageChannel(nn.Module):
    """All networks of the image channel; see the module."""

    def __init__(self, config: ImageChannelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.widths, config.latents)
        self.synthesis = Synthesis(config.widths, config.latents)
        self.hyperprior = Hyperprior(config.latents, config.hyper_latents, config.hyper_width)
        self.encoder = JsccEncoder(config.latents, config.widths[2], config.encoder_depth)
        self.decoder = JsccDecoder(config.latents, config.widths[2], config.decoder_depth)

    def source(self, pictures: Tensor) -> Source:
        """Latents of pictures (B, 3, H, W), 0…1, whose height and width are multiples of 16."""
        y = self.analysis(pictures).float()
        z = self.hyperprior.analysis(padded_for_hyperprior(y / LATENT_SCALE)).float()
        return Source(y, self.statistics(rounded(z), y.shape[-2:]), z)

    def statistics(self, z: Tensor, size: torch.Size | tuple[int, ...]) -> Statistics:
        """What whole hyper latents say about latents of `size` (height, width).

        In float32 everywhere, because both ends derive the lengths from it.
        """
        with torch.autocast(z.device.type, enabled=False):
            mean, scale = self.hyperprior.statistics(z.float())
        return Statistics(mean[..., : size[0], : size[1]], scale[..., : size[0], : size[1]])

    def side_bits(self, z: Tensor) -> Tensor:
        """(B,) bits of hyper latents, whole or noisy."""
        return self.hyperprior.prior.bits(z).sum((1, 2, 3))

    @torch.no_grad()
    def lengths(
        self, statistics: Statistics, mean_length: Tensor, snr_db: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """(B, H/16, W/16) complex symbols of each position, whose means are at most `mean_length` (B,).

        Args:
            snr_db: (B,) mean of the channel.
            weights: (B, H/16, W/16) of the positions' costs, by their ratio to the mean; None for equal ones.
        """
        costs = error_curves(statistics, snr_db) ** COST_POWER
        if weights is not None:
            costs = costs * (weights / weights.mean((1, 2), keepdim=True))[:, None]
        return allocated_lengths(costs, mean_length)

    def encode(self, source: Source, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Complex symbols (B, H/16, W/16, MAX_LENGTH) for a channel of `snr_db` (B, H/16, W/16)."""
        symbols: Tensor = self.encoder(source.y, detached(source.statistics), snr_db, lengths)
        return symbols

    def decode(self, symbols: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), not clipped to 0…1; arguments as for `JsccDecoder`."""
        pictures: Tensor = self.synthesis(self.decoder(symbols, detached(statistics), snr_db, lengths))
        return pictures

    def digital(self, source: Source) -> tuple[Tensor, Tensor]:
        """Pictures of rounded latents, and (B,) bits of latents and hyper latents; for training."""
        y_hat = rounded(source.y - source.statistics.mean) + source.statistics.mean
        bits = gaussian_bits(noisy(source.y), source.statistics).sum((1, 2, 3))
        return self.synthesis(y_hat), bits + self.side_bits(noisy(source.z))


def detached(statistics: Statistics) -> Statistics:
    """The same numbers without gradient: the entropy model learns from likelihood alone."""
    return Statistics(statistics.mean.detach(), statistics.scale.detach())
