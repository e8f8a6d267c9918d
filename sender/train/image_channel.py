"""Trains the image channel.

Crops of 128² pixels go through a simulated channel of random SNR.  In the first quarter all positions have the same
length, unless the training starts from shipped weights; then lengths are adapted and rates vary.  Length is wall time:
CPU recipe 75 minutes on one core.  --export also writes the averaged weights with their validation scores, and the
coefficients of the expected error of positions (`common.channel.image_codec`): crops go through AWGN, with equal
lengths at all positions, at several lengths and SNRs.  The logarithm of the mean squared error of a position is fitted
by Newton's method on the likelihood of errors with a gamma distribution, whose mean, not the mean of its logarithm, is
what counts.

Examples:
  python -m sender.train.image_channel --photographs photographs --out runs/channel --minutes 75 --export
  python -m sender.train.image_channel --photographs photographs --out runs/more --shipped --rate 2e-3 --export
"""

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Image
from common.channel import image_codec
from common.channel.channel import complex_normal, equalised, from_db, transmitted
from common.channel.image_codec import (
    ERRORS_FILE,
    SNR_RANGE_DB,
    TERMS,
    ImageChannel,
    ImageChannelConfig,
    Source,
    detached,
    features,
    length_mask,
    position_snr_db,
    terms,
)
from common.errors import SourceError
from common.imaging.entropy import expected_bits
from common.imaging.grid import STRIDE
from common.io.files import atomic_write
from common.training.recipe import Defaults, Network, Recipe, muon_and_adamw
from common.training.run import main
from common.weights.manifest import WeightsEntry
from sender.train.photographs.dataset import PhotographDataset, PhotographSplit

_LARGEST_REDUCTION = 1.8
_VALIDATION_SNRS_DB = (1.0, 7.0, 13.0)
_FIXED_SHARE = 0.25
# At this mean squared error (28 dB), the loss of a crop has the slope of its mean squared error.
_REFERENCE_ERROR = 10**-2.8
DISTORTION = 400.0
_DIGITAL_CROPS = 4
_DIGITAL_WEIGHT = 0.3
# At which the expected error is fitted.
_ERROR_LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_ERROR_SNRS_DB = (-1.0, 2.0, 6.0, 10.0, 13.0)
_BATCH = 32
_LEAST_ERROR = 1e-6
_NEWTON_STEPS = 12
_RIDGE = 1e-3
# Errors beyond so many times their expectation count no more in a step of Newton's method.
_LARGEST_RATIO = 20.0


def random_crops(pictures: Sequence[Image], batch: int, side_px: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches (batch, 3, side_px, side_px) of float32, 0…1.

    A picture counts by its area; half of the crops are reduced by up to 1.8, and half are mirrored.
    """
    areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], np.float64)
    while True:
        crops = []
        for row in rng.choice(len(pictures), size=batch, p=areas / areas.sum()).tolist():
            height, width = pictures[row].shape[:2]
            reduction = math.exp(max(rng.uniform(-1, 1), 0.0) * math.log(_LARGEST_REDUCTION))
            side = min(int(side_px * reduction), height, width)
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            crop = cv2.resize(
                pictures[row][top : top + side, left : left + side], (side_px, side_px), interpolation=cv2.INTER_AREA
            )
            crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
        yield torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0


class CropRecipe(Recipe[Network, Tensor]):
    """A training on random crops of the photographs of `--photographs`, whose validation split is held back."""

    crop_px = 128
    validation_crops = 64

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        photographs = "folder of sender.train.photographs.dataset"
        parser.add_argument("--photographs", type=Path, required=True, metavar="DIR", help=photographs)

    def read_pictures(self) -> None:
        """Reads the photographs, and chooses the crops for validation.

        Raises:
            SourceError: they are missing, damaged or of another format, or all of a split are smaller than a crop.
        """
        self.pictures, held_back = self._pictures("train"), self._pictures("val")
        rng = np.random.default_rng(0)
        self.validation = next(random_crops(held_back, self.validation_crops, self.crop_px, rng)).to(self.device)
        self.generator = torch.Generator().manual_seed(self.options.seed)
        self.facts = {"pictures": len(self.pictures), "shipped": self.options.shipped}

    def _pictures(self, split: PhotographSplit) -> list[Image]:
        photographs = PhotographDataset(self.options.photographs, split)
        pictures = [photographs[index].image for index in range(len(photographs))]
        large = [picture for picture in pictures if min(picture.shape[:2]) >= self.crop_px]
        if not large:
            raise SourceError(f"no photograph has {self.crop_px} pixels a side to take crops from; name larger ones")
        return large

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Tensor]:
        return random_crops(self.pictures, count, self.crop_px, rng)


def crop_losses(pictures: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
    """Loss, the mean of root mean squared errors so that no channel state outweighs others, and PSNR in dB (B,)."""
    errors = (pictures.float() - originals).square().mean((1, 2, 3))
    loss = 2 * (errors * _REFERENCE_ERROR).sqrt().mean()
    return loss, -10 * torch.log10(errors.detach())


class ImageChannelTraining(CropRecipe[ImageChannel]):
    """Distortion after random channels; of a few crops also the rate and the distortion of rounded latents."""

    name, kind = image_codec.WEIGHTS_NAME, image_codec.KIND
    error_crops = 192
    defaults = Defaults(minutes=75.0, batch=16, rate=5e-3, warm_share=0.02, log_every=50, evaluate_minutes=5.0)

    def prepare(self) -> ImageChannel:
        self.read_pictures()
        network = image_codec.load_network() if self.options.shipped else ImageChannel(ImageChannelConfig())
        return network.requires_grad_(True).to(memory_format=torch.channels_last)

    def optimisers(self, network: ImageChannel) -> Sequence[torch.optim.Optimizer]:
        return muon_and_adamw(network, self.options.rate, (nn.Conv2d, nn.ConvTranspose2d))

    def step(self, network: ImageChannel, batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        crops, generator = batch.contiguous(memory_format=torch.channels_last), self.generator
        with self.autocast():
            source = network.source(crops)
            snr_db = random_snr_db(len(crops), generator).to(crops.device)
            lengths = self._lengths(network, source, snr_db)
            gains = random_gains(lengths.shape, generator).to(crops.device)
            loss, psnr_db = crop_losses(sent(network, source, snr_db, lengths, gains, generator), crops)
            pictures, bits = network.digital(source.first(_DIGITAL_CROPS))
            bpp = bits.mean() / (crops.shape[2] * crops.shape[3])
            digital = DISTORTION * (pictures.float() - crops[:_DIGITAL_CROPS]).square().mean() + bpp
        return DISTORTION * loss + _DIGITAL_WEIGHT * digital, {"psnr": psnr_db.mean(), "digital": digital, "bpp": bpp}

    def _lengths(self, network: ImageChannel, source: Source, snr_db: Tensor) -> Tensor:
        bits = expected_bits(detached(source.statistics))
        if self.share < _FIXED_SHARE and not self.options.shipped:
            return torch.full_like(bits, mean_length_of(BASE_RATE), dtype=torch.long)
        varied = random_mean_lengths(bits.mean((1, 2)), mean_length_of(BASE_RATE), self.generator)
        return network.lengths(source.statistics, varied, snr_db)

    def evaluate(self, network: ImageChannel) -> dict[str, float]:
        """Mean PSNR in dB of crops at a few SNRs on AWGN at `BASE_RATE`, without the side information's cost."""
        scores = {}
        for snr_db in _VALIDATION_SNRS_DB:
            with self.autocast():
                pictures = sent_over_awgn(network, self.validation, snr_db)
            scores[f"psnr_db_at_{snr_db:g}"] = float(crop_losses(pictures.clamp(0, 1), self.validation)[1].mean())
        return scores

    def save(self, network: ImageChannel, recipe: Mapping[str, Any], scores: Mapping[str, float]) -> WeightsEntry:
        crops = next(random_crops(self.pictures, self.error_crops, self.crop_px, np.random.default_rng(0)))
        rows = [row for batch in crops.split(_BATCH) for row in measured_errors(network, batch)]
        coefficients = [round(value, 6) for value in fitted(rows).tolist()]
        content = json.dumps({"coefficients": coefficients}) + "\n"
        entry = super().save(network, recipe, scores)
        atomic_write(self.options.weights / ERRORS_FILE.name, content.encode())
        return entry


BASE_RATE = 1 / 16
# Share of the crops that meet a fading channel.
_FADING_SHARE = 0.125


def random_snr_db(batch: int, generator: torch.Generator) -> Tensor:
    """(batch,) uniform in `SNR_RANGE_DB`."""
    low, high = SNR_RANGE_DB
    return low + (high - low) * torch.rand(batch, generator=generator)


def random_gains(shape: torch.Size | tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Complex gains of positions (batch, height, width): 1 for most crops, Rayleigh for some."""
    fades = torch.rand((shape[0], 1, 1), generator=generator) < _FADING_SHARE
    fading = complex_normal(shape, generator)
    return torch.where(fades, fading, torch.ones_like(fading))


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
) -> Tensor:
    """What the decoder makes of pictures after the channel.

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


def sent_over_awgn(network: ImageChannel, crops: Tensor, snr_db: float) -> Tensor:
    """What the decoder makes of crops at `BASE_RATE` after a channel without fading, always with the same noise."""
    source = network.source(crops)
    level_db = crops.new_full((len(crops),), snr_db)
    lengths = network.lengths(source.statistics, crops.new_full((len(crops),), mean_length_of(BASE_RATE)), level_db)
    gains = torch.ones_like(lengths, dtype=torch.complex64)
    return sent(network, source, level_db, lengths, gains, torch.Generator().manual_seed(0))


@torch.no_grad()
def measured_errors(network: ImageChannel, crops: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Terms (n, TERMS) and errors (n,) of all positions of crops (B, 3, H, W), for each length and SNR."""
    source, generator = network.source(crops), torch.Generator().manual_seed(0)
    own = features(source.statistics)
    gains = torch.ones(own.shape[:3], dtype=torch.complex64)
    for snr_db, length in itertools.product(_ERROR_SNRS_DB, _ERROR_LENGTHS):
        lengths, level_db = torch.full(own.shape[:3], length), torch.full((len(crops),), snr_db)
        pictures = sent(network, source, level_db, lengths, gains, generator).float().clamp(0, 1)
        errors = functional.avg_pool2d((pictures - crops).square().mean(1, keepdim=True), STRIDE)
        found = terms(own, lengths, torch.full(own.shape[:3], snr_db))
        yield found.flatten(0, 2), errors.flatten().double().clamp_min(_LEAST_ERROR)


def fitted(rows: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(TERMS,) coefficients of log₂ of the error; first by least squares of the logarithms."""
    ridge = _RIDGE * torch.eye(TERMS, dtype=torch.float64)
    squares = sum((found.T @ found for found, _ in rows), ridge)
    logarithms = sum((found.T @ errors.log2() for found, errors in rows), torch.zeros(TERMS, dtype=torch.float64))
    coefficients: Tensor = torch.linalg.solve(squares, logarithms)
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = torch.zeros(TERMS, dtype=torch.float64), ridge.clone()
        for found, errors in rows:
            ratio = errors / (found @ coefficients).exp2()
            gradient += found.T @ (1 - ratio)
            curvature += (found * ratio.clamp_max(_LARGEST_RATIO)[:, None]).T @ found
        coefficients = coefficients - torch.linalg.solve(curvature, gradient) / math.log(2)
    return coefficients


def mean_length_of(rate: float) -> float:
    """Complex symbols per latent position at a bandwidth ratio."""
    return rate * 3 * STRIDE * STRIDE


if __name__ == "__main__":
    raise SystemExit(main(ImageChannelTraining))
