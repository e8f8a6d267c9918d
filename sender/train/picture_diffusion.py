"""Trains the diffusion decoder of the image channel, whose own weights stay as they ship.

Crops of 128² pixels go through a simulated channel of random SNR and rate, and the plain decoder; the network learns to
estimate the original from points on the way to it.  Beside the squared error, the loss compares features of the person
detector, which keep edges and texture that a squared error blurs.  (The perceptual distance that the bench prints is in
the features of another network.)  Starts from the plain decoder's synthesis.  Length is wall time: CPU recipe 80
minutes on one core.  --export also writes the averaged weights with their validation scores.

Examples:
  python -m sender.train.picture_diffusion --photographs photographs --out runs/diffusion --minutes 80 --export
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from common.channel import diffusion
from common.channel.diffusion import DiffusionDecoder, DiffusionDecoderConfig, completed, start
from common.channel.model import ImageChannel, Reconstruction
from common.channel.transmission import load_network
from common.imaging.entropy import expected_bits
from common.training.optimisers import muon_and_adamw
from common.training.recipe import Defaults
from common.training.run import main
from sender.perception.inference.detector import Detector, DetectorNet
from sender.train.image_channel import (
    mean_length_of,
    random_gains,
    random_mean_lengths,
    random_snr_db,
    sent,
    sent_over_awgn,
)
from sender.train.photographs.picture_crops import CropRecipe

_BASE_RATE = 1 / 20
_EARLIEST_TIME = 0.1
_FEATURE_WEIGHT = 4.0
# Mean squared error that is added to that of the plain decoder, so that easy crops do not count for much more.
_ERROR_FLOOR = 2e-4
_LEAST_NORM = 1e-4
_VALIDATION_SNRS_DB = (1.0, 10.0)
_VALIDATION_RATE = 1 / 24


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


class PictureDiffusionTraining(CropRecipe[DiffusionDecoder]):
    """Error and feature distance of originals that are estimated at random times."""

    name, kind = diffusion.WEIGHTS_NAME, diffusion.KIND
    validation_crops = 32
    defaults = Defaults(minutes=80.0, batch=16, rate=2e-3, warm_share=0.03, average_decay=0.995, log_every=50)

    def prepare(self) -> DiffusionDecoder:
        # Held back as for the image channel, whose pictures the network completes.
        self.read_pictures()
        channel = load_network().requires_grad_(False).to(memory_format=torch.channels_last)
        self._features = DetectorFeatures(Detector.load().net.to(self.device))
        network = diffusion.load_decoder().requires_grad_(True) if self.options.shipped else new_network(channel)
        self._channel = channel.to(self.device)
        return network.to(memory_format=torch.channels_last)

    def optimisers(self, network: DiffusionDecoder) -> Sequence[torch.optim.Optimizer]:
        return muon_and_adamw(network, self.options.rate)

    def step(self, network: DiffusionDecoder, batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        x = batch.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            return step_loss(network, received(self._channel, x, self.generator), x, self._features, self.generator)

    def evaluate(self, network: DiffusionDecoder) -> dict[str, float]:
        """PSNR in dB and feature distance of crops on AWGN at 1/24, by the number of steps; 0 is the plain decoder."""
        crops, scores = self.validation, {}
        for snr_db in _VALIDATION_SNRS_DB:
            with self.autocast():
                state = sent_over_awgn(self._channel, crops, snr_db, _VALIDATION_RATE)
                for steps, found in enumerate((state.pictures.float(), completed(network, state))):
                    pictures = found.clamp(0, 1)
                    errors = (pictures - crops).square().mean((1, 2, 3))
                    scores[f"psnr_db_at_{snr_db:g}_steps_{steps}"] = float(-10 * torch.log10(errors).mean())
                    distance = self._features.distance(pictures, crops)
                    scores[f"features_at_{snr_db:g}_steps_{steps}"] = float(distance)
        return scores


@torch.no_grad()
def received(channel: ImageChannel, crops: Tensor, generator: torch.Generator) -> Reconstruction:
    """Crops as the plain decoder has them after random channels."""
    source = channel.source(crops)
    bits = expected_bits(source.statistics).mean((1, 2))
    snr_db = random_snr_db(len(crops), generator).to(crops.device)
    mean_length = random_mean_lengths(bits, mean_length_of(_BASE_RATE), generator)
    lengths = channel.lengths(source.statistics, mean_length, snr_db)
    gains = random_gains(lengths.shape, generator).to(crops.device)
    return sent(channel, source, snr_db, lengths, gains, generator)


def step_loss(
    network: DiffusionDecoder, state: Reconstruction, x: Tensor, features: DetectorFeatures, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss at random times, and terms of the log; the error of x counts over that of the plain decoder."""
    plain = state.pictures.float().clamp(0, 1)
    time = 1 - (1 - _EARLIEST_TIME) * torch.rand(len(x), generator=generator).to(x.device)
    t = time[:, None, None, None]
    estimate = network((1 - t) * x + t * start(plain, generator), plain, state, time)
    errors = (estimate - x).square().mean((1, 2, 3))
    plain_errors = (plain - x).square().mean((1, 2, 3)) + _ERROR_FLOOR
    # Of the velocity (x_t − x) / t, of which the last steps would count for too much without the root.
    error = (errors / plain_errors / time).mean()
    distance = features.distance(estimate, x)
    return error + _FEATURE_WEIGHT * distance, {"error": error, "features": distance}


if __name__ == "__main__":
    raise SystemExit(main(PictureDiffusionTraining))
