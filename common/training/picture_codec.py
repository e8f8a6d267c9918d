"""Trains the picture codec: rate, MS-SSIM and a little mean squared error on photographs and texture atlases.

Starts from the shipped weights of the image channel, or with --shipped from the picture codec's own.  Each crop has a
random quality.  Length is wall time: CPU recipe 55 minutes on one core.  --export also writes the averaged weights with
their validation scores.

Examples:
  python -m common.training.picture_codec --data people openimages --atlases atlases/train --validation atlases/val \\
      --cache cache --out runs/pictures --minutes 55 --export
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import ByteArray
from common.channel import transmission
from common.errors import exit_code_of
from common.imaging.entropy import FactorisedPrior, noisy, rounded
from common.picture_codec import weights
from common.picture_codec.fixed_point import FixedPointConv
from common.picture_codec.network import PictureCodecConfig, PictureCodecNetwork, Prediction
from common.training.codec_crops import Crops, mixed_crops, read_atlases
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, parser_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead
from common.training.mask_frequencies import mask_frequencies
from common.training.muon import Muon, muon_of
from common.training.picture_cache import open_cache, picture_files, split_for_validation
from common.training.similarity import ms_ssim
from common.weights.devices import fast_autocast

CROP_PX = 128
_VALIDATION_BATCHES = 6
_VALIDATION_QUALITIES = (0.2, 0.5, 0.8)
# Bits a pixel that one unit of distortion is worth, at the lowest and at the highest quality.
_LEAST_DISTORTION_WEIGHT, _DISTORTION_WEIGHT_RATIO = 3.0, 32.0
_REFERENCE_WEIGHT = 16.0
# Of the mean squared error, against one minus MS-SSIM.
_ERROR_WEIGHT = 10.0
_LEAST_PROBABILITY = 1e-9


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m common.training.picture_codec", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of photographs")
    parser.add_argument("--atlases", type=Path, nargs="+", required=True, metavar="DIR", help="atlases to train on")
    parser.add_argument("--validation", type=Path, nargs="+", required=True, metavar="DIR", help="atlases held back")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder of decoded pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the checkpoint and scores")
    parser.add_argument(
        "--minutes", type=float, default=55.0, help="length over all resumed runs (default: %(default)g)"
    )
    add_steps_flag(parser)
    parser.add_argument("--batch", type=int, default=12, help="crops of 128² a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of all randomness (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out, if it exists")
    parser.add_argument("--shipped", action="store_true", help="start from the package's weights of the picture codec")
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    options = parser.parse_args(arguments)
    if options.batch < 2:
        parser.error("--batch must be at least 2")
    return options


def of_image_channel() -> PictureCodecNetwork:
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


def optimiser_of(network: nn.Module, rate: float) -> Muon:
    """Muon for the convolutions between wide layers; AdamW for all else."""
    return muon_of(network, rate, (nn.Conv2d, FixedPointConv))


def latent_bits(y: Tensor, prediction: Prediction) -> Tensor:
    """(B,) bits of noisy latents under their Gaussians."""
    distance = (y - prediction.mean).abs()
    upper = torch.special.ndtr((0.5 - distance) / prediction.scale)
    lower = torch.special.ndtr((-0.5 - distance) / prediction.scale)
    return -torch.log2((upper - lower).clamp_min(_LEAST_PROBABILITY)).sum((1, 2, 3))


def coded(network: PictureCodecNetwork, crops: Crops, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Decoded pictures (B, 3, H, W), not clipped, and bits of each (B,), as training estimates them."""
    with fast_autocast():
        y, z = network.latents(crops.pictures.contiguous(memory_format=torch.channels_last), quality)
    prediction = network.hyper_synthesis(rounded(z))
    height, width = y.shape[-2:]
    prediction = Prediction(*(each[..., :height, :width] for each in prediction))
    prior: FactorisedPrior = network.prior
    bits = latent_bits(noisy(y), prediction) + prior.bits(noisy(z)).sum((1, 2, 3))
    with fast_autocast():
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


@torch.no_grad()
def validate(network: PictureCodecNetwork, batches: list[Crops]) -> dict[str, float]:
    """Loss, bits a pixel and MS-SSIM of photographs and atlases at a few qualities, as training estimates them."""
    scores = {}
    torch_state = torch.random.get_rng_state()
    for quality in _VALIDATION_QUALITIES:
        torch.manual_seed(0)
        rows: dict[str, list[float]] = {}
        for crops in batches:
            level = torch.full((len(crops.known),), quality)
            pictures, bits = coded(network, crops, level)
            dissimilarity, error = distortions(pictures.clamp(0, 1), crops)
            bpp = bits / crops.known[0, 0].numel()
            loss = distortion_weight(level) * (dissimilarity + _ERROR_WEIGHT * error) + bpp
            similarity = ms_ssim(pictures.clamp(0, 1), crops.pictures, crops.known)
            half = len(level) // 2
            for name, part in (("photo", slice(0, half)), ("atlas", slice(half, None))):
                for term, value in (("loss", loss), ("bpp", bpp), ("ms_ssim", similarity)):
                    rows.setdefault(f"{name}_{term}_at_{100 * quality:g}", []).append(float(value[part].mean()))
        scores.update({name: float(np.mean(values)) for name, values in rows.items()})
    torch.random.set_rng_state(torch_state)
    return scores


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = options.out / "picture_codec.pt"
    resumed = options.resume and checkpoint.exists()

    with workers.first_before_others():
        pictures = open_cache(picture_files(options.data), options.cache, CROP_PX)
    # As for the image channel, whose weights the training starts from.
    training, validation = split_for_validation(pictures)
    atlases = read_atlases(options.atlases)
    source = mixed_crops(validation, read_atlases(options.validation), options.batch, np.random.default_rng(0))
    batches = [next(source) for _ in range(_VALIDATION_BATCHES)]
    network = weights.load_network().requires_grad_(True) if options.shipped else of_image_channel()
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            options.steps,
            samples_per_step=options.batch,
            warm_share=0.04,
            average_decay=0.995,
            log_every=25,
            evaluate_every_s=600.0,
            save_every_s=120.0,
        ),
        network.to(memory_format=torch.channels_last).train(),
        optimiser_of(network, options.rate),
        checkpoint,
        workers=workers,
        resume=resumed,
        facts={
            "seed": options.seed,
            "pictures": len(training),
            "atlases": len(atlases),
            "start": weights.NAME if options.shipped else transmission.WEIGHTS_NAME,
        },
        evaluate=lambda average: validate(average, batches),
    )
    if resumed or workers.count > 1:
        torch.manual_seed(workers.seed(options.seed, loop.step))
        rng = np.random.default_rng((options.seed, loop.step, workers.rank))
    loop.print(f"{len(training)} pictures, {len(atlases)} atlases, {weights.size_of(network):.2f} M parameters")

    for crops in loop.steps(read_ahead(mixed_crops(training, atlases, workers.batch(options.batch), rng))):
        loss, terms = step_loss(network, crops, torch.rand(len(crops.known)))
        loop.descend(loss)
        loop.log(**terms)

    if workers.first:
        scores = validate(loop.average, batches)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop, scores, atlases)
    workers.leave()


def export(
    options: argparse.Namespace,
    loop: TrainingLoop[PictureCodecNetwork],
    scores: dict[str, float],
    atlases: list[ByteArray],
) -> None:
    """Writes the averaged weights, with the frequencies of the masks of the atlases."""
    recipe = {"steps": loop.step, "samples": loop.samples, "minutes": round(loop.spent_s / 60, 1), **loop.facts}
    entry = weights.save_network(loop.average, mask_frequencies(atlases), recipe, scores, options.weights)
    print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m common.training.picture_codec", lambda: train(parse())))
