"""Trains the image channel.

Crops of 128² pixels go through a simulated channel of random SNR.  In the first quarter all positions have the same
length, unless the training starts from shipped weights; then lengths are adapted and rates vary.  Length is wall time:
CPU recipe 75 minutes on one core.  --export also writes the averaged weights with their validation scores.

Examples:
  python -m common.training.image_channel --data pictures --cache cache --out runs/channel --minutes 75 --export
  python -m common.training.image_channel --data pictures --cache cache --out runs/more --shipped --rate 2e-3 --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from common.channel import transmission
from common.channel.jscc import position_snr_db
from common.channel.lengths import length_mask
from common.channel.model import ImageChannel, ImageChannelConfig, Reconstruction, Source, detached
from common.channel.physical import complex_normal, equalised, from_db, transmitted
from common.imaging.entropy import expected_bits
from common.imaging.grid import STRIDE
from common.training.optimisers import muon_and_adamw
from common.training.picture_cache import add_picture_flags, random_crops, read_pictures
from common.training.recipe import Defaults, Recipe
from common.training.run import main

CROP_PX = 128
_VALIDATION_CROPS = 64
_VALIDATION_SNRS_DB = (1.0, 7.0, 13.0)
_FIXED_SHARE = 0.25
# At this mean squared error (28 dB), the loss of a crop has the slope of its mean squared error.
_REFERENCE_ERROR = 10**-2.8
DISTORTION = 400.0
_DIGITAL_CROPS = 4
_DIGITAL_WEIGHT = 0.3


def crop_losses(pictures: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
    """Loss, the mean of root mean squared errors so that no channel state outweighs others, and PSNR in dB (B,)."""
    errors = (pictures.float() - originals).square().mean((1, 2, 3))
    loss = 2 * (errors * _REFERENCE_ERROR).sqrt().mean()
    return loss, -10 * torch.log10(errors.detach())


class ImageChannelTraining(Recipe[ImageChannel, Tensor]):
    """Distortion after random channels; of a few crops also the rate and the distortion of rounded latents."""

    name, kind = transmission.WEIGHTS_NAME, transmission.KIND
    defaults = Defaults(minutes=75.0, batch=16, rate=5e-3, warm_share=0.02, log_every=50, evaluate_minutes=5.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_picture_flags(parser)

    def prepare(self) -> ImageChannel:
        self._pictures, validation = read_pictures(self.options, CROP_PX)
        self._validation = next(random_crops(validation, _VALIDATION_CROPS, CROP_PX, np.random.default_rng(0)))
        self._generator = torch.Generator().manual_seed(self.workers.seed(self.options.seed))
        self.facts = {"pictures": len(self._pictures), "shipped": self.options.shipped}
        network = transmission.load_network() if self.options.shipped else ImageChannel(ImageChannelConfig())
        return network.requires_grad_(True).to(memory_format=torch.channels_last)

    def optimisers(self, network: ImageChannel) -> Sequence[torch.optim.Optimizer]:
        return muon_and_adamw(network, self.options.rate, (nn.Conv2d, nn.ConvTranspose2d))

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Tensor]:
        return random_crops(self._pictures, count, CROP_PX, rng)

    def step(self, network: ImageChannel, batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        crops, generator = batch.contiguous(memory_format=torch.channels_last), self._generator
        with self.autocast():
            source = network.source(crops)
            snr_db = random_snr_db(len(crops), generator).to(crops.device)
            lengths = self._lengths(network, source, snr_db)
            gains = random_gains(lengths.shape, generator).to(crops.device)
            loss, psnr_db = crop_losses(sent(network, source, snr_db, lengths, gains, generator).pictures, crops)
            pictures, bits = network.digital(source.first(_DIGITAL_CROPS))
            bpp = bits.mean() / (crops.shape[2] * crops.shape[3])
            digital = DISTORTION * (pictures.float() - crops[:_DIGITAL_CROPS]).square().mean() + bpp
        return DISTORTION * loss + _DIGITAL_WEIGHT * digital, {"psnr": psnr_db.mean(), "digital": digital, "bpp": bpp}

    def _lengths(self, network: ImageChannel, source: Source, snr_db: Tensor) -> Tensor:
        bits = expected_bits(detached(source.statistics))
        if self.share < _FIXED_SHARE and not self.options.shipped:
            return torch.full_like(bits, mean_length_of(BASE_RATE), dtype=torch.long)
        varied = random_mean_lengths(bits.mean((1, 2)), mean_length_of(BASE_RATE), self._generator)
        return network.lengths(source.statistics, varied, snr_db)

    def evaluate(self, network: ImageChannel) -> dict[str, float]:
        """Mean PSNR in dB of crops at a few SNRs on AWGN at `BASE_RATE`, without the side information's cost."""
        crops, scores = self._validation.to(self.device), {}
        for snr_db in _VALIDATION_SNRS_DB:
            with self.autocast():
                pictures = sent_over_awgn(network, crops, snr_db, BASE_RATE).pictures
            scores[f"psnr_db_at_{snr_db:g}"] = float(crop_losses(pictures.clamp(0, 1), crops)[1].mean())
        return scores


SNR_RANGE_DB = (-1.0, 13.0)
BASE_RATE = 1 / 16
# Shares of the crops that meet a fading channel, and one that loses packets.
_FADING_SHARE = 0.125
_LOSSY_SHARE = 0.0625
_MAX_LOSS = 0.3


def random_snr_db(batch: int, generator: torch.Generator) -> Tensor:
    """(batch,) uniform in `SNR_RANGE_DB`."""
    low, high = SNR_RANGE_DB
    return low + (high - low) * torch.rand(batch, generator=generator)


def random_gains(shape: torch.Size | tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Complex gains of positions (batch, height, width): 1 for most crops, Rayleigh for some, 1 or 0 for a few."""
    single = (shape[0], 1, 1)
    kind = torch.rand(single, generator=generator)
    fading = complex_normal(shape, generator)
    loss = _MAX_LOSS * torch.rand(single, generator=generator)
    kept = (torch.rand(shape, generator=generator) >= loss).to(fading.dtype)
    gains = torch.where(kind < _FADING_SHARE, fading, torch.ones_like(fading))
    return torch.where(kind > 1 - _LOSSY_SHARE, kept, gains)


def random_mean_lengths(bits: Tensor, base: float, generator: torch.Generator) -> Tensor:
    """(B,) symbols per position, between those of equal pictures and of parts of one picture that share by information.

    Args:
        bits: (B,) information of each crop.
        base: mean symbols per position at the rate that counts most.
    """
    share, rate, varied = torch.rand(3, len(bits), generator=generator).to(bits.device)
    rate = torch.where(varied < 0.5, 1.0, 2.0 ** (rate * 2 - 1))
    lengths: Tensor = base * rate * (bits / bits.mean()).clamp(0.1, 4.0) ** share
    return lengths


def sent(
    network: ImageChannel, source: Source, snr_db: Tensor, lengths: Tensor, gains: Tensor, generator: torch.Generator
) -> Reconstruction:
    """What the plain decoder makes of pictures after the channel.

    Args:
        snr_db: (B,) mean SNR, known to the sender.
        lengths: (B, H, W) complex symbols of each position.
        gains: (B, H, W) of each position, known to the receiver.
    """
    symbols = network.encode(source, snr_db[:, None, None].expand(gains.shape), lengths)
    snr = from_db(snr_db)[:, None, None, None]
    mask = length_mask(lengths)
    received = equalised(transmitted(symbols, gains[..., None], snr, generator), gains[..., None], snr)
    local_db = position_snr_db(received.snr.expand(mask.shape), lengths)
    return network.decode(received.symbols * mask, source.statistics, local_db, lengths)


def sent_over_awgn(network: ImageChannel, crops: Tensor, snr_db: float, rate: float) -> Reconstruction:
    """What the plain decoder makes of crops after a channel without fading, always with the same noise."""
    source = network.source(crops)
    level_db = crops.new_full((len(crops),), snr_db)
    lengths = network.lengths(source.statistics, crops.new_full((len(crops),), mean_length_of(rate)), level_db)
    gains = torch.ones_like(lengths, dtype=torch.complex64)
    return sent(network, source, level_db, lengths, gains, torch.Generator().manual_seed(0))


def mean_length_of(rate: float) -> float:
    """Complex symbols per latent position at a bandwidth ratio."""
    return rate * 3 * STRIDE * STRIDE


if __name__ == "__main__":
    raise SystemExit(main(ImageChannelTraining))
