"""Trains the picture codec: rate, MS-SSIM and a little mean squared error on photographs and texture atlases.

Starts from the shipped weights of the image channel, or with --shipped from the picture codec's own.  Each crop has a
random quality.  Length is wall time: CPU recipe 55 minutes on one core.  --export also writes the averaged weights with
their validation scores.

Examples:
  python -m common.training.picture_codec --data people openimages --atlases atlases/train --validation atlases/val \\
      --cache cache --out runs/pictures --minutes 55 --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import ByteArray, Float64Array, IntArray
from common.channel import transmission
from common.imaging.entropy import FactorisedPrior, noisy, rounded
from common.picture_codec import weights
from common.picture_codec.fixed_point import FixedPointConv
from common.picture_codec.mask import CONTEXTS, PROBABILITY_BITS, observed_contexts
from common.picture_codec.network import PictureCodecConfig, PictureCodecNetwork, Prediction
from common.texture.atlas_tiles import TILES, reduced
from common.training.codec_crops import Crops, mixed_crops, read_atlases
from common.training.optimisers import muon_and_adamw
from common.training.picture_cache import add_picture_flags, read_pictures
from common.training.recipe import Defaults, Recipe
from common.training.run import main, on_device
from common.weights.devices import fast_autocast
from common.weights.manifest import WeightsEntry

CROP_PX = 128
_VALIDATION_BATCHES = 6
_VALIDATION_QUALITIES = (0.2, 0.5, 0.8)
# Bits a pixel that one unit of distortion is worth, at the lowest and at the highest quality.
_LEAST_DISTORTION_WEIGHT, _DISTORTION_WEIGHT_RATIO = 3.0, 32.0
_REFERENCE_WEIGHT = 16.0
# Of the mean squared error, against one minus MS-SSIM.
_ERROR_WEIGHT = 10.0
_LEAST_PROBABILITY = 1e-9


class PictureCodecTraining(Recipe[PictureCodecNetwork, Crops]):
    """Rate and distortion at random qualities."""

    name = weights.NAME
    defaults = Defaults(minutes=55.0, batch=12, rate=1e-3, warm_share=0.04, average_decay=0.995)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_picture_flags(parser)
        parser.add_argument("--atlases", type=Path, nargs="+", required=True, metavar="DIR", help="to train on")
        parser.add_argument("--validation", type=Path, nargs="+", required=True, metavar="DIR", help="held back")

    def prepare(self) -> PictureCodecNetwork:
        # Held back as for the image channel, whose weights the training starts from.
        self._pictures, validation = read_pictures(self.options, CROP_PX)
        self._atlases = read_atlases(self.options.atlases)
        held_back, rng = read_atlases(self.options.validation), np.random.default_rng(0)
        source = mixed_crops(validation, held_back, self.options.batch, rng)
        self._validation = [next(source) for _ in range(_VALIDATION_BATCHES)]
        start = weights.NAME if self.options.shipped else transmission.WEIGHTS_NAME
        self.facts = {"pictures": len(self._pictures), "atlases": len(self._atlases), "start": start}
        network = weights.load_network() if self.options.shipped else network_from_image_channel()
        return network.requires_grad_(True).to(memory_format=torch.channels_last)

    def optimisers(self, network: PictureCodecNetwork) -> Sequence[torch.optim.Optimizer]:
        return muon_and_adamw(network, self.options.rate, (nn.Conv2d, FixedPointConv))

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Crops]:
        return mixed_crops(self._pictures, self._atlases, max(count, 2), rng)

    def step(self, network: PictureCodecNetwork, batch: Crops) -> tuple[Tensor, Mapping[str, Tensor]]:
        return step_loss(network, batch, torch.rand(len(batch.known), device=batch.known.device))

    def evaluate(self, network: PictureCodecNetwork) -> dict[str, float]:
        """Loss, bits a pixel and MS-SSIM of photographs and atlases at a few qualities, as training estimates them."""
        rows: dict[str, list[float]] = {}
        for quality in _VALIDATION_QUALITIES:
            for crops in (on_device(crops, self.device) for crops in self._validation):
                level = crops.known.new_full((len(crops.known),), quality)
                pictures, bits = coded(network, crops, level)
                dissimilarity, error = distortions(pictures.clamp(0, 1), crops)
                bpp = bits / crops.known[0, 0].numel()
                loss = distortion_weight(level) * (dissimilarity + _ERROR_WEIGHT * error) + bpp
                similarity = ms_ssim(pictures.clamp(0, 1), crops.pictures, crops.known)
                half = len(level) // 2
                for name, part in (("photo", slice(0, half)), ("atlas", slice(half, None))):
                    for term, value in (("loss", loss), ("bpp", bpp), ("ms_ssim", similarity)):
                        rows.setdefault(f"{name}_{term}_at_{100 * quality:g}", []).append(float(value[part].mean()))
        return {name: float(np.mean(values)) for name, values in rows.items()}

    def save(
        self, network: PictureCodecNetwork, recipe: Mapping[str, Any], scores: Mapping[str, float]
    ) -> WeightsEntry:
        """With the frequencies of the masks of the atlases."""
        return weights.save_network(network, mask_frequencies(self._atlases), recipe, scores, self.options.weights)


def network_from_image_channel() -> PictureCodecNetwork:
    """A network with the transforms and the hyperprior of the shipped image channel.

    Raises:
        WeightsError: the package has none.
    """
    channel = transmission.load_network()
    config = channel.config
    network = PictureCodecNetwork(
        PictureCodecConfig(config.widths, config.latents, config.hyper_latents, config.hyper_width)
    )
    assert channel.hyperprior is not None
    network.analysis.load_state_dict(channel.analysis.state_dict())
    network.synthesis.load_state_dict(channel.synthesis.state_dict())
    network.hyper_analysis.load_state_dict(channel.hyperprior.analysis.state_dict())
    network.prior.load_state_dict(channel.hyperprior.prior.state_dict())
    plain = [layer for layer in channel.hyperprior.synthesis.modules() if isinstance(layer, nn.Conv2d)]
    fixed = [layer for layer in network.hyper_synthesis.modules() if isinstance(layer, FixedPointConv)]
    for source, target in zip(plain, fixed, strict=True):
        target.load_state_dict(source.state_dict())
    return network.requires_grad_(True)


_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
_LEAST = 1e-4


def ms_ssim(pictures: Tensor, originals: Tensor, known: Tensor) -> Tensor:
    """(B,) multi-scale structural similarity (Wang, Simoncelli and Bovik 2003), mean over the colours.

    Pictures smaller than 176 pixels have fewer scales, with the same relative weights.

    Args:
        pictures, originals: (B, C, H, W) float32, 0…1, with at least 11 pixels a side.
        known: (B, 1, H, W) 0…1, the weight of each pixel; a picture without any has similarity 1.
    """
    x, y, weight = torch.lerp(originals, pictures, known), originals, known
    weights: list[float] = []
    side = min(x.shape[-2:])
    while side > 2 * _RADIUS and len(weights) < len(_WEIGHTS):
        weights.append(_WEIGHTS[len(weights)])
        side //= 2
    product = x.new_ones(x.shape[:2])
    for scale, exponent in enumerate(weights):
        luminance, structure = _similarities(x, y)
        values = luminance * structure if scale == len(weights) - 1 else structure
        inside = weight[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
        total = inside.sum((2, 3))
        mean = (values * inside).sum((2, 3)) / total.clamp_min(1e-6)
        mean = torch.where(total > _LEAST, mean, 1.0).clamp_min(_LEAST)
        product = product * mean ** (exponent / sum(weights))
        x, y, weight = (functional.avg_pool2d(each, 2) for each in (x, y, weight))
    return product.mean(1)


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast with structure, where the window is inside."""
    mean_x, mean_y, of_xx, of_yy, of_xy = _blurred(torch.stack([x, y, x * x, y * y, x * y])).unbind()
    variances = of_xx - mean_x.square() + of_yy - mean_y.square()
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    return luminance, (2 * (of_xy - mean_x * mean_y) + _C2) / (variances + _C2)


def _blurred(x: Tensor) -> Tensor:
    """Gaussian means, as products with band matrices: faster on a CPU than convolutions of single channels."""
    return _band(x.shape[-2]).to(x.device) @ (x @ _band(x.shape[-1]).T.to(x.device))


@lru_cache(maxsize=32)
def _band(size: int) -> Tensor:
    """(size − 10, size) Gaussian windows."""
    offsets = torch.arange(size)[None] - torch.arange(size - 2 * _RADIUS)[:, None] - _RADIUS
    window = torch.exp(-offsets.square() / (2 * _SIGMA**2)) * (offsets.abs() <= _RADIUS)
    return window / window.sum(1, keepdim=True)


def latent_bits(y: Tensor, prediction: Prediction) -> Tensor:
    """(B,) bits of noisy latents under their Gaussians."""
    distance = (y - prediction.mean).abs()
    upper = torch.special.ndtr((0.5 - distance) / prediction.scale)
    lower = torch.special.ndtr((-0.5 - distance) / prediction.scale)
    return -torch.log2((upper - lower).clamp_min(_LEAST_PROBABILITY)).sum((1, 2, 3))


def coded(network: PictureCodecNetwork, crops: Crops, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Decoded pictures (B, 3, H, W), not clipped, and bits of each (B,), as training estimates them."""
    device = quality.device.type
    with fast_autocast(device):
        y, z = network.latents(crops.pictures.contiguous(memory_format=torch.channels_last), quality)
    prediction = network.hyper_synthesis(rounded(z))
    height, width = y.shape[-2:]
    prediction = Prediction(*(each[..., :height, :width] for each in prediction))
    prior: FactorisedPrior = network.prior
    bits = latent_bits(noisy(y), prediction) + prior.bits(noisy(z)).sum((1, 2, 3))
    with fast_autocast(device):
        pictures = network.pictures(rounded(y - prediction.mean) + prediction.mean, quality)
    return pictures.float(), bits


def distortions(pictures: Tensor, crops: Crops) -> tuple[Tensor, Tensor]:
    """(B,) one minus MS-SSIM, and mean squared error, over the pixels that count, times their share."""
    share = crops.known.mean((1, 2, 3))
    error = ((pictures - crops.pictures).square() * crops.known).mean((1, 2, 3))
    return (1 - ms_ssim(pictures, crops.pictures, crops.known)) * share, error


def distortion_weight(quality: Tensor) -> Tensor:
    """(B,) bits a pixel that one unit of distortion is worth at qualities 0…1."""
    return _LEAST_DISTORTION_WEIGHT * _DISTORTION_WEIGHT_RATIO**quality


def step_loss(network: PictureCodecNetwork, crops: Crops, quality: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and terms of the log."""
    pictures, bits = coded(network, crops, quality)
    dissimilarity, error = distortions(pictures, crops)
    bpp = bits / crops.known[0, 0].numel()
    weight = distortion_weight(quality)
    # Every quality has about the same influence.
    loss = ((weight * (dissimilarity + _ERROR_WEIGHT * error) + bpp) * (_REFERENCE_WEIGHT / weight).sqrt()).mean()
    return loss, {"loss": loss, "bpp": bpp.mean(), "dssim": 1e3 * dissimilarity.mean(), "mse": 1e4 * error.mean()}


_NEAREST = 4
_NEIGHBOUR_BITS = 12
# How many texels the mean of similar contexts counts as.
_PRIOR_TEXELS = 4.0


def mask_frequencies(atlases: Sequence[ByteArray]) -> IntArray:
    """(CONTEXTS,) of `MaskCodec`, from RGBA atlases (512, 512, 4).

    Contexts that are rare are mixed with all those that have as many known texels among the four nearest and among the
    others.
    """
    texels, ones = np.zeros(CONTEXTS), np.zeros(CONTEXTS)
    for atlas in atlases:
        for tile in TILES:
            _, mask = reduced(atlas[(*tile.area, slice(0, 3))], atlas[(*tile.area, 3)] > 0, tile.scale)
            if not mask.any() or mask.all():
                continue
            for contexts, values in observed_contexts(mask):
                texels += np.bincount(contexts, minlength=CONTEXTS)
                ones += np.bincount(contexts, weights=values, minlength=CONTEXTS)
    kind = _kinds()
    mean = (np.bincount(kind, weights=ones) + 0.5) / (np.bincount(kind, weights=texels) + 1.0)
    probability: Float64Array = (ones + _PRIOR_TEXELS * mean[kind]) / (texels + _PRIOR_TEXELS)
    whole = 1 << PROBABILITY_BITS
    return np.rint(probability * whole).astype(np.int64).clip(1, whole - 1)


def _kinds() -> IntArray:
    """(CONTEXTS,) number of each context's group of similar ones."""
    context = np.arange(CONTEXTS)
    neighbours = context >> np.arange(_NEIGHBOUR_BITS)[:, None] & 1
    near, far = neighbours[:_NEAREST].sum(axis=0), neighbours[_NEAREST:].sum(axis=0)
    step = context >> _NEIGHBOUR_BITS
    return np.asarray((step * (_NEAREST + 1) + near) * (_NEIGHBOUR_BITS - _NEAREST + 1) + far, np.int64)


if __name__ == "__main__":
    raise SystemExit(main(PictureCodecTraining))
