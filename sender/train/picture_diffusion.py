"""Trains the diffusion decoder of the image channel, whose own weights stay as they ship.

Crops of 128² pixels go through a simulated channel of random SNR and rate, and the plain decoder; the network learns to
estimate the original from points on the way to it.  Beside the squared error, the loss compares features of the person
detector, which keep edges and texture that a squared error blurs.  (The perceptual distance that the bench prints is in
the features of another network.)  Starts from the plain decoder's synthesis.  Length is wall time: CPU recipe 80
minutes on one core.  --export also writes the averaged weights with their validation scores.

Examples:
  python -m sender.train.picture_diffusion --data pictures --cache cache --out runs/diffusion --minutes 80 --export
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.channel import diffusion
from common.channel.diffusion import DiffusionDecoder, DiffusionDecoderConfig, sample, start
from common.channel.model import ImageChannel, Reconstruction
from common.channel.transmission import load_network
from common.errors import exit_code_of
from common.imaging.entropy import expected_bits
from common.training.channel_states import random_gains, random_mean_lengths, random_snr_db, sent
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.image_channel import CROP_PX, mean_length_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead
from common.training.muon import Muon, muon_of
from common.training.picture_cache import open_cache, picture_files, random_crops, split_for_validation
from common.weights.devices import fast_autocast
from common.weights.loader import save_weights
from sender.perception.inference.detector import Detector, DetectorNet

_BASE_RATE = 1 / 20
_EARLIEST_TIME = 0.1
_FEATURE_WEIGHT = 4.0
# Mean squared error that is added to that of the plain decoder, so that easy crops do not count for much more.
_ERROR_FLOOR = 2e-4
_LEAST_NORM = 1e-4
_VALIDATION_CROPS = 32
_VALIDATION_SNRS_DB = (1.0, 10.0)
_VALIDATION_RATE = 1 / 24
_VALIDATION_STEPS = (1, 2, 4)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.picture_diffusion", __doc__ or "")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pictures")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder of decoded pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the checkpoint and scores")
    add_training_flags(parser, minutes=80.0, batch=16, seed=1, threads=1)
    add_steps_flag(parser)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: %(default)g)")
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


class DetectorFeatures:
    """Features of pictures in the person detector's first layers: at 1/2, 1/4, 1/8 and 1/16, of unit length.

    Args:
        net: of the detector; its weights are frozen.
    """

    def __init__(self, net: DetectorNet) -> None:
        self._net = net.requires_grad_(False).to(memory_format=torch.channels_last)

    def __call__(self, pictures: Tensor) -> list[Tensor]:
        """Of pictures (B, 3, H, W), 0…1."""
        half, *deeper = self._net.eighth
        x = half(pictures * 4.0 - 2.0)
        found = [x]
        for number, layer in enumerate(deeper):
            x = layer(x)
            if number in (0, len(deeper) - 1):
                found.append(x)
        found.append(self._net.sixteenth(x))
        return [_unit(each.float()) for each in found]

    def distance(self, pictures: Tensor, originals: Tensor) -> Tensor:
        """Mean squared difference over the positions, added over the scales; the originals get no gradient."""
        with torch.no_grad():
            wanted = self(originals)
        pairs = zip(self(pictures), wanted, strict=True)
        return torch.stack([(ours - theirs).square().sum(1).mean() for ours, theirs in pairs]).sum()


def _unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + _LEAST_NORM)


def new_network(channel: ImageChannel) -> DiffusionDecoder:
    """A network that starts as the plain decoder of an image channel."""
    network = DiffusionDecoder(DiffusionDecoderConfig(channel.config.widths, channel.config.latents))
    trained = {name.removeprefix("layers."): value for name, value in channel.synthesis.state_dict().items()}
    # What the synthesis lacks is the modulation of its blocks, which starts as the identity.
    network.synthesis.load_state_dict(trained, strict=False)
    return network


def optimiser_of(network: nn.Module, rate: float) -> Muon:
    """Muon for the convolutions between wide layers; AdamW for all else."""
    return muon_of(network, rate, (nn.Conv2d,))


@torch.no_grad()
def received(channel: ImageChannel, crops: Tensor, generator: torch.Generator) -> Reconstruction:
    """Crops as the plain decoder has them after random channels."""
    source = channel.source(crops)
    bits = expected_bits(source.statistics).mean((1, 2))
    lengths = channel.lengths(source.statistics, random_mean_lengths(bits, mean_length_of(_BASE_RATE), generator))
    gains = random_gains(lengths.shape, generator)
    return sent(channel, source, random_snr_db(len(crops), generator), lengths, gains, generator)


def step_loss(
    network: DiffusionDecoder,
    state: Reconstruction,
    crops: Tensor,
    features: DetectorFeatures,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss at random times, and terms of the log; the error counts over that of the plain decoder."""
    plain = state.pictures.float().clamp(0, 1)
    time = 1 - (1 - _EARLIEST_TIME) * torch.rand(len(crops), generator=generator)
    t = time[:, None, None, None]
    estimate = network((1 - t) * crops + t * start(plain, generator), plain, state, time)
    errors = (estimate - crops).square().mean((1, 2, 3))
    plain_errors = (plain - crops).square().mean((1, 2, 3)) + _ERROR_FLOOR
    # Of the velocity (x_t − x) / t, of which the last steps would count for too much without the root.
    error = (errors / plain_errors / time).mean()
    distance = features.distance(estimate, crops)
    return error + _FEATURE_WEIGHT * distance, {"error": error, "features": distance}


@torch.no_grad()
def validate(
    network: DiffusionDecoder, channel: ImageChannel, crops: Tensor, features: DetectorFeatures
) -> dict[str, float]:
    """PSNR in dB and feature distance of crops on AWGN at 1/24, by the number of steps; 0 is the plain decoder."""
    scores = {}
    for snr_db in _VALIDATION_SNRS_DB:
        generator = torch.Generator().manual_seed(0)
        with fast_autocast():
            source = channel.source(crops)
            lengths = channel.lengths(source.statistics, torch.full((len(crops),), mean_length_of(_VALIDATION_RATE)))
            gains = torch.ones(lengths.shape, dtype=torch.complex64)
            state = sent(channel, source, torch.full((len(crops),), snr_db), lengths, gains, generator)
            for steps in (0, *_VALIDATION_STEPS):
                pictures = sample(network, state, generator, steps).clamp(0, 1)
                errors = (pictures - crops).square().mean((1, 2, 3))
                scores[f"psnr_db_at_{snr_db:g}_steps_{steps}"] = float(-10 * torch.log10(errors).mean())
                scores[f"features_at_{snr_db:g}_steps_{steps}"] = float(features.distance(pictures, crops))
    return scores


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = options.out / "picture_diffusion.pt"
    resumed = options.resume and checkpoint.exists()

    with workers.first_before_others():
        pictures = open_cache(picture_files(options.data), options.cache, CROP_PX)
    # As for the image channel, whose pictures the network completes.
    training, validation = split_for_validation(pictures)
    validation_crops = next(random_crops(validation, _VALIDATION_CROPS, CROP_PX, np.random.default_rng(0)))
    channel = load_network().requires_grad_(False).to(memory_format=torch.channels_last)
    features = DetectorFeatures(Detector.load().net)
    network = diffusion.load_decoder().requires_grad_(True) if options.shipped else new_network(channel)
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            options.steps,
            samples_per_step=options.batch,
            warm_share=0.03,
            average_decay=0.995,
            log_every=50,
            evaluate_every_s=600.0,
            save_every_s=180.0,
        ),
        network.to(memory_format=torch.channels_last).train(),
        optimiser_of(network, options.rate),
        checkpoint,
        workers=workers,
        resume=resumed,
        facts={"seed": options.seed, "pictures": len(training), "shipped": options.shipped},
        evaluate=lambda average: validate(average, channel, validation_crops, features),
    )
    if resumed or workers.count > 1:
        generator.manual_seed(workers.seed(options.seed, loop.step))
        rng = np.random.default_rng((options.seed, loop.step, workers.rank))
    loop.print(f"{len(training)} pictures, {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")

    for crops in loop.steps(read_ahead(random_crops(training, workers.batch(options.batch), CROP_PX, rng))):
        batch = crops.to(memory_format=torch.channels_last)
        with fast_autocast():
            loss, terms = step_loss(network, received(channel, batch, generator), batch, features, generator)
        loop.descend(loss)
        loop.log(**terms)

    if workers.first:
        scores = validate(loop.average, channel, validation_crops, features)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop, scores)
    workers.leave()


def export(options: argparse.Namespace, loop: TrainingLoop[DiffusionDecoder], scores: dict[str, float]) -> None:
    """Writes the averaged weights."""
    recipe = {"steps": loop.step, "samples": loop.samples, "minutes": round(loop.spent_s / 60, 1), **loop.facts}
    network = loop.average
    recorded = diffusion.architecture(network.config)
    name = diffusion.WEIGHTS_NAME
    entry = save_weights(name, network.state_dict(), recorded, recipe, scores, directory=options.weights)
    print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.picture_diffusion", lambda: train(parse())))
