"""The image channel: transforms, entropy model and joint source-channel coding in one network (LRISC, Yin et al. 2025).

x ─ analysis ─ y ─────────────────── JSCC encoder ─ s ═ channel ═ ŝ ─ JSCC decoder ─ ŷ ─ synthesis ─ x̂
               └─ hyperprior ─ z ─ μ, σ ─┴─ lengths k ─────────────────────┘
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.channel.expected_error import shipped_errors
from common.channel.jscc import JsccDecoder, JsccEncoder
from common.channel.lengths import allocated_lengths, uniform_lengths
from common.imaging.entropy import (
    Hyperprior,
    Statistics,
    gaussian_bits,
    noisy,
    padded_for_hyperprior,
    rounded,
)
from common.imaging.transforms import LATENT_SCALE, Analysis, Synthesis

_UNKNOWN_SNR_DB = 7.0
COST_POWER = 0.6
"""Of a position's squared error.  The error itself would starve smooth positions: on held-back photographs that gains
0.1 dB over lengths by entropy, but perceptual distances grow by 1 to 4 %.  With 0.6 neither is worse."""


@dataclass(frozen=True, slots=True)
class ImageChannelConfig:
    """Sizes, and what an ablation leaves out.

    Args:
        widths: channels at 1/4, 1/8 and 1/16.
        latents: channels of y.
        hyper_latents: channels of z.
        hyper_width: channels inside the hyperprior.
        encoder_depth: residual blocks of the JSCC encoder.
        decoder_depth: residual blocks of the JSCC decoder.
        lengths: adapt the length of each position; else all are equal.
        snr: tell encoder and decoder the SNR.
        hyperprior: send z; without it there is neither an entropy model nor an adapted length.
    """

    widths: tuple[int, int, int] = (96, 192, 320)
    latents: int = 192
    hyper_latents: int = 48
    hyper_width: int = 128
    encoder_depth: int = 3
    decoder_depth: int = 4
    lengths: bool = True
    snr: bool = True
    hyperprior: bool = True

    def __post_init__(self) -> None:
        if self.lengths and not self.hyperprior:
            raise ValueError("adapted lengths need the hyperprior")


class Source(NamedTuple):
    """What the sender knows of pictures.

    Args:
        y: latents (B, latents, H/16, W/16).
        statistics: what the receiver knows of them.
        z: unrounded hyper latents; None without hyperprior.
    """

    y: Tensor
    statistics: Statistics
    z: Tensor | None

    def first(self, count: int) -> "Source":
        """The first `count` pictures."""
        mean, scale = self.statistics
        z = None if self.z is None else self.z[:count]
        return Source(self.y[:count], Statistics(mean[:count], scale[:count]), z)


class Reconstruction(NamedTuple):
    """What the decoder makes of a transmission, and how good the channel was.

    Args:
        pictures: (B, 3, H, W), not clipped to 0…1.
        latents: (B, latents, H/16, W/16) as received.
        snr_db: (B, H/16, W/16) effective SNR of each position.
        lengths: (B, H/16, W/16) complex symbols of each position.
    """

    pictures: Tensor
    latents: Tensor
    snr_db: Tensor
    lengths: Tensor


class ImageChannel(nn.Module):
    """All networks of the image channel; see the module."""

    def __init__(self, config: ImageChannelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.widths, config.latents)
        self.synthesis = Synthesis(config.widths, config.latents)
        self.hyperprior = (
            Hyperprior(config.latents, config.hyper_latents, config.hyper_width) if config.hyperprior else None
        )
        self.encoder = JsccEncoder(config.latents, config.widths[2], config.encoder_depth)
        self.decoder = JsccDecoder(config.latents, config.widths[2], config.decoder_depth)

    def source(self, pictures: Tensor) -> Source:
        """Latents of pictures (B, 3, H, W), 0…1, whose height and width are multiples of 16."""
        y = self.analysis(pictures).float()
        if self.hyperprior is None:
            return Source(y, Statistics(torch.zeros_like(y), torch.ones_like(y)), None)
        z = self.hyperprior.analysis(padded_for_hyperprior(y / LATENT_SCALE)).float()
        return Source(y, self.statistics(rounded(z), y.shape[-2:]), z)

    def statistics(self, z: Tensor, size: torch.Size | tuple[int, ...]) -> Statistics:
        """What whole hyper latents say about latents of `size` (height, width).

        In float32 everywhere, because both ends derive the lengths from it.
        """
        assert self.hyperprior is not None
        with torch.autocast(z.device.type, enabled=False):
            mean, scale = self.hyperprior.statistics(z.float())
        return Statistics(mean[..., : size[0], : size[1]], scale[..., : size[0], : size[1]])

    def side_bits(self, z: Tensor) -> Tensor:
        """(B,) bits of hyper latents, whole or noisy."""
        assert self.hyperprior is not None
        return self.hyperprior.prior.bits(z).sum((1, 2, 3))

    def lengths(
        self, statistics: Statistics, mean_length: Tensor, snr_db: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """(B, H/16, W/16) complex symbols of each position, whose means are at most `mean_length` (B,).

        Args:
            snr_db: (B,) as the sender believes it to be.
            weights: (B, H/16, W/16) of the positions' costs; None for equal ones.
        """
        if not self.config.lengths:
            return uniform_lengths(statistics.mean, mean_length)
        return allocated_lengths(self.costs(statistics, snr_db, weights), mean_length)

    @torch.no_grad()
    def costs(self, statistics: Statistics, snr_db: Tensor, weights: Tensor | None = None) -> Tensor:
        """(B, len(LENGTHS), H/16, W/16) of each position at each length: a power of its expected squared error.

        Weights count by their ratio to the mean.
        """
        costs = shipped_errors().curves(statistics, snr_db) ** COST_POWER
        return costs if weights is None else costs * (weights / weights.mean((1, 2), keepdim=True))[:, None]

    def encode(self, source: Source, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Complex symbols (B, H/16, W/16, MAX_LENGTH) for a channel of `snr_db` (B, H/16, W/16)."""
        symbols: Tensor = self.encoder(source.y, detached(source.statistics), self._snr_condition(snr_db), lengths)
        return symbols

    def decode(self, symbols: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Reconstruction:
        """What the receiver makes of symbols; arguments as for `JsccDecoder`."""
        y = self.decoder(symbols, detached(statistics), self._snr_condition(snr_db), lengths)
        return Reconstruction(self.synthesis(y), y, snr_db, lengths)

    def digital(self, source: Source) -> tuple[Tensor, Tensor]:
        """Pictures of rounded latents, and (B,) bits of latents and hyper latents; for training."""
        assert source.z is not None
        y_hat = rounded(source.y - source.statistics.mean) + source.statistics.mean
        bits = gaussian_bits(noisy(source.y), source.statistics).sum((1, 2, 3))
        return self.synthesis(y_hat), bits + self.side_bits(noisy(source.z))

    def _snr_condition(self, snr_db: Tensor) -> Tensor:
        return snr_db if self.config.snr else torch.full_like(snr_db, _UNKNOWN_SNR_DB)


def detached(statistics: Statistics) -> Statistics:
    """The same numbers without gradient: the entropy model learns from likelihood alone."""
    return Statistics(statistics.mean.detach(), statistics.scale.detach())
