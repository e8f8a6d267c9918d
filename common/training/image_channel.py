"""Trains the image channel, or DeepJSCC, its baseline.

Crops of 128² pixels go through a simulated channel of random SNR.  In the first quarter all positions have the same
length, unless the training starts from shipped weights; then lengths are adapted and rates vary.  Length is wall time:
CPU recipe 75 minutes on one core.  --export also writes the averaged weights with their validation scores.

Examples:
  python -m common.training.image_channel --data pictures --cache cache --out runs/channel --minutes 75 --export
  python -m common.training.image_channel --data pictures --cache cache --out runs/more --shipped --rate 2e-3 --export
  python -m common.training.image_channel --data pictures --cache cache --out runs/deepjscc --minutes 75 --deepjscc
  python -m common.training.image_channel --data pictures --cache cache --out runs/fixed --shipped --without lengths
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.channel import deepjscc, transmission
from common.channel.deepjscc import DeepJscc, DeepJsccConfig
from common.channel.lengths import uniform_lengths
from common.channel.model import ImageChannel, ImageChannelConfig, Source, detached
from common.channel.physical import from_db, transmitted
from common.errors import exit_code_of
from common.imaging.entropy import expected_bits
from common.imaging.grid import STRIDE
from common.training.channel_states import (
    BASE_RATE,
    random_gains,
    random_mean_lengths,
    random_snr_db,
    sent,
)
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, parser_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead
from common.training.muon import Muon, muon_of
from common.training.picture_cache import open_cache, picture_files, random_crops, split_for_validation
from common.weights.devices import fast_autocast
from common.weights.loader import save_weights

REMOVALS = ("lengths", "snr", "hyperprior")
CROP_PX = 128
_VALIDATION_CROPS = 64
_VALIDATION_SNRS_DB = (1.0, 7.0, 13.0)
_FIXED_SHARE = 0.25
# At this mean squared error (28 dB), the loss of a crop has the slope of its mean squared error.
_REFERENCE_ERROR = 10**-2.8
_DISTORTION = 400.0
_DIGITAL_CROPS = 4
_DIGITAL_WEIGHT = 0.3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m common.training.image_channel", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pictures")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder of decoded pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the checkpoint and scores")
    parser.add_argument(
        "--minutes", type=float, default=75.0, help="length over all resumed runs (default: %(default)g)"
    )
    add_steps_flag(parser)
    parser.add_argument("--batch", type=int, default=16, help="crops a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of all randomness (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out, if it exists")
    parser.add_argument("--shipped", action="store_true", help="start from the package's weights of the image channel")
    parser.add_argument("--deepjscc", action="store_true", help="train the baseline")
    parser.add_argument(
        "--symbols",
        type=int,
        default=3,
        help="of DeepJSCC per 4×4 pixels: 3 for a bandwidth ratio of 1/16 (%(default)s)",
    )
    parser.add_argument(
        "--without",
        choices=REMOVALS,
        nargs="+",
        default=[],
        help="ablation: equal lengths; SNR unknown to the networks; or neither hyperprior nor adapted lengths",
    )
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    options = parser.parse_args(arguments)
    if options.symbols < 1:
        parser.error("--symbols must be at least 1")
    if options.shipped and (options.deepjscc or "hyperprior" in options.without):
        parser.error("--shipped is for an image channel with hyperprior, without --deepjscc and --without hyperprior")
    return options


def new_network(options: argparse.Namespace) -> ImageChannel | DeepJscc:
    """The network to train, with random or with shipped weights.

    Raises:
        WeightsError: the package has no weights, or those of another version.
    """
    without = set(options.without)
    if options.shipped:
        network = transmission.load_network().requires_grad_(True)
        network.config = replace(network.config, lengths="lengths" not in without, snr="snr" not in without)
        return network
    if options.deepjscc:
        return DeepJscc(DeepJsccConfig(symbols=options.symbols))
    return ImageChannel(
        ImageChannelConfig(
            lengths=not without & {"lengths", "hyperprior"},
            snr="snr" not in without,
            hyperprior="hyperprior" not in without,
        )
    )


def optimiser_of(network: nn.Module, rate: float) -> Muon:
    """Muon for the convolutions between wide layers; AdamW for all else."""
    return muon_of(network, rate, (nn.Conv2d, nn.ConvTranspose2d))


def crop_losses(pictures: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
    """Loss, the mean of root mean squared errors so that no channel state outweighs others, and PSNR in dB (B,)."""
    errors = (pictures.float() - originals).square().mean((1, 2, 3))
    loss = 2 * (errors * _REFERENCE_ERROR).sqrt().mean()
    return loss, -10 * torch.log10(errors.detach())


class ChannelStep:
    """One training step of the image channel.

    Args:
        network: to train.
        generator: of channel states and noise.
        fixed_share: first part of the training, in which all positions have the same length.
    """

    def __init__(self, network: ImageChannel, generator: torch.Generator, fixed_share: float = _FIXED_SHARE) -> None:
        self._network, self._generator, self._fixed_share = network, generator, fixed_share

    def __call__(self, crops: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and terms of the log; `progress` is the share of the training that is over."""
        network, generator = self._network, self._generator
        source = network.source(crops)
        lengths = self._lengths(source, progress)
        snr_db, gains = random_snr_db(len(crops), generator), random_gains(lengths.shape, generator)
        pictures = sent(network, source, snr_db, lengths, gains, generator).pictures
        loss, psnr_db = crop_losses(pictures, crops)
        if source.z is None:
            return _DISTORTION * loss, {"loss": 1e3 * loss, "psnr": psnr_db.mean()}
        rate_distortion, bpp = self._rate_distortion(source.first(_DIGITAL_CROPS), crops[:_DIGITAL_CROPS])
        terms = {"loss": 1e3 * loss, "psnr": psnr_db.mean(), "digital": rate_distortion, "bpp": bpp}
        return _DISTORTION * loss + _DIGITAL_WEIGHT * rate_distortion, terms

    def _lengths(self, source: Source, progress: float) -> Tensor:
        bits = expected_bits(detached(source.statistics))
        mean_length = torch.full((len(bits),), mean_length_of(BASE_RATE))
        if progress < self._fixed_share:
            return uniform_lengths(bits, mean_length)
        varied = random_mean_lengths(bits.mean((1, 2)), mean_length_of(BASE_RATE), self._generator)
        return self._network.lengths(source.statistics, varied)

    def _rate_distortion(self, source: Source, crops: Tensor) -> tuple[Tensor, Tensor]:
        pictures, bits = self._network.digital(source)
        bpp = bits.mean() / (crops.shape[2] * crops.shape[3])
        return _DISTORTION * (pictures.float() - crops).square().mean() + bpp, bpp


class DeepJsccStep:
    """One training step of DeepJSCC, with the same range of SNRs; arguments as for `ChannelStep`."""

    def __init__(self, network: DeepJscc, generator: torch.Generator) -> None:
        self._network, self._generator = network, generator

    def __call__(self, crops: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        symbols = self._network.encode(crops)
        snr = from_db(random_snr_db(len(crops), self._generator))[:, None]
        received = transmitted(symbols, torch.ones_like(symbols), snr, self._generator)
        loss, psnr_db = crop_losses(self._network.decode(received, (crops.shape[2], crops.shape[3])), crops)
        return _DISTORTION * loss, {"loss": 1e3 * loss, "psnr": psnr_db.mean()}


def step_of(
    network: ImageChannel | DeepJscc, generator: torch.Generator, fixed_share: float
) -> ChannelStep | DeepJsccStep:
    """The training step of a network; `fixed_share` as for `ChannelStep`."""
    if isinstance(network, DeepJscc):
        return DeepJsccStep(network, generator)
    return ChannelStep(network, generator, fixed_share)


def mean_length_of(rate: float) -> float:
    """Complex symbols per latent position at a bandwidth ratio."""
    return rate * 3 * STRIDE * STRIDE


@torch.no_grad()
def validate(network: ImageChannel | DeepJscc, crops: Tensor) -> dict[str, float]:
    """Mean PSNR in dB of crops at a few SNRs on AWGN at `BASE_RATE`, without the side information's cost."""
    scores = {}
    for snr_db in _VALIDATION_SNRS_DB:
        generator = torch.Generator().manual_seed(0)
        with fast_autocast():
            if isinstance(network, DeepJscc):
                symbols = network.encode(crops)
                received = transmitted(symbols, torch.ones_like(symbols), from_db(snr_db), generator)
                pictures = network.decode(received, (crops.shape[2], crops.shape[3]))
            else:
                source = network.source(crops)
                mean_length = torch.full((len(crops),), mean_length_of(BASE_RATE))
                lengths = network.lengths(source.statistics, mean_length)
                gains = torch.ones(lengths.shape, dtype=torch.complex64)
                levels_db = torch.full((len(crops),), snr_db)
                pictures = sent(network, source, levels_db, lengths, gains, generator).pictures
        scores[f"psnr_db_at_{snr_db:g}"] = float(crop_losses(pictures.clamp(0, 1), crops)[1].mean())
    return scores


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = options.out / "image_channel.pt"
    resumed = options.resume and checkpoint.exists()

    with workers.first_before_others():
        pictures = open_cache(picture_files(options.data), options.cache, CROP_PX)
    training, validation = split_for_validation(pictures)
    validation_crops = next(random_crops(validation, _VALIDATION_CROPS, CROP_PX, np.random.default_rng(0)))
    network = new_network(options).to(memory_format=torch.channels_last).train()
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            options.steps,
            samples_per_step=options.batch,
            warm_share=0.02,
            average_decay=0.998,
            log_every=50,
            evaluate_every_s=300.0,
            save_every_s=180.0,
        ),
        network,
        optimiser_of(network, options.rate),
        checkpoint,
        workers=workers,
        resume=resumed,
        facts={
            "seed": options.seed,
            "pictures": len(training),
            "deepjscc": options.deepjscc,
            "shipped": options.shipped,
        },
        without=options.without,
        evaluate=lambda average: validate(average, validation_crops),
    )
    if resumed or workers.count > 1:
        generator.manual_seed(workers.seed(options.seed, loop.step))
        rng = np.random.default_rng((options.seed, loop.step, workers.rank))
    step = step_of(network, generator, 0.0 if options.shipped else _FIXED_SHARE)
    loop.print(f"{len(training)} pictures, {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")

    for crops in loop.steps(read_ahead(random_crops(training, workers.batch(options.batch), CROP_PX, rng))):
        with fast_autocast():
            loss, terms = step(crops.to(memory_format=torch.channels_last), loop.progress)
        loop.descend(loss)
        loop.log(**terms)

    if workers.first:
        scores = validate(loop.average, validation_crops)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop, scores)
    workers.leave()


def export(options: argparse.Namespace, loop: TrainingLoop[ImageChannel | DeepJscc], scores: dict[str, float]) -> None:
    """Writes the averaged weights; those of an ablation are named after what it lacks."""
    network = loop.average
    if isinstance(network, DeepJscc):
        name = f"{deepjscc.KIND}_{network.config.rate.denominator}"
        recorded = deepjscc.architecture(network.config)
    else:
        name = "_without_".join((transmission.WEIGHTS_NAME, *sorted(options.without)))
        recorded = transmission.architecture(network.config)
    recipe = {"steps": loop.step, "samples": loop.samples, "minutes": round(loop.spent_s / 60, 1), **loop.facts}
    entry = save_weights(name, network.state_dict(), recorded, recipe, scores, directory=options.weights)
    print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m common.training.image_channel", lambda: train(parse())))
