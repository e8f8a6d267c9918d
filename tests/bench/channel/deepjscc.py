"""DeepJSCC, the baseline: a convolutional autoencoder whose code are the symbols (Bourtsoulatze et al. 2019).

This trains it for one bandwidth ratio, on the same crops and SNRs as the image channel.

Examples:
  python -m tests.bench.channel.deepjscc --photographs photographs --steps 11668 --export --weights rivals
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from common.arrays import Image
from common.channel.channel import carry, from_db, transmitted
from common.channel.state import ChannelState
from common.imaging.transforms import as_image, padded
from common.training.recipe import Defaults, muon_and_adamw
from common.training.run import main
from common.weights.loader import load_recorded
from common.weights.manifest import read_manifest
from sender.train.image_channel import DISTORTION, CropRecipe, crop_losses, random_snr_db
from tests.bench.report import at_least

KIND = "deepjscc"
STRIDE = 4
"""Pixels from one position of the code to the next."""


@dataclass(frozen=True, slots=True)
class DeepJsccConfig:
    """Sizes.

    Args:
        width: channels of the hidden layers.
        symbols: complex symbols of each 4×4 pixels: the bandwidth ratio is `symbols`/48.
    """

    width: int = 64
    symbols: int = 3

    @property
    def rate(self) -> Fraction:
        """Complex channel uses per colour value of a pixel."""
        return Fraction(self.symbols, 3 * STRIDE * STRIDE)


class DeepJscc(nn.Module):
    """Five convolutions to symbols, five transposed ones back, each with PReLU; it knows nothing of the channel."""

    def __init__(self, config: DeepJsccConfig) -> None:
        super().__init__()
        self.config = config
        width, code = config.width, 2 * config.symbols
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2),
            nn.PReLU(width),
            nn.Conv2d(width, width, 5, stride=2, padding=2),
            nn.PReLU(width),
            nn.Conv2d(width, width, 5, padding=2),
            nn.PReLU(width),
            nn.Conv2d(width, width, 5, padding=2),
            nn.PReLU(width),
            nn.Conv2d(width, code, 5, padding=2),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(code, width, 5, padding=2),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, width, 5, padding=2),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, width, 5, padding=2),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, width, 5, stride=2, padding=2, output_padding=1),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, 3, 5, stride=2, padding=2, output_padding=1),
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """Complex symbols (B, n) of mean power 1 of pictures (B, 3, H, W), 0…1; H and W are multiples of 4."""
        code = self.encoder(pictures - 0.5).float().flatten(1).unflatten(1, (-1, 2))
        symbols = torch.view_as_complex(code.contiguous())
        power = torch.view_as_real(symbols).square().sum(-1).mean(1, keepdim=True)
        return symbols * torch.rsqrt(power + 1e-12)

    def decode(self, symbols: Tensor, size: tuple[int, int]) -> Tensor:
        """Pictures (B, 3, *size) of received symbols (B, n)."""
        code = torch.view_as_real(symbols).reshape(len(symbols), -1, size[0] // STRIDE, size[1] // STRIDE)
        pictures: Tensor = self.decoder(code)
        return pictures + 0.5


def trained(folders: Sequence[Path]) -> list[DeepJscc]:
    """Every DeepJSCC that was exported to folders.

    Raises:
        WeightsError: weights are missing, damaged or of another version.
    """
    return [
        load_recorded(name, KIND, DeepJsccConfig, DeepJscc, folder)
        for folder in folders
        for name, entry in read_manifest(folder).items()
        if entry.architecture.get("kind") == KIND
    ]


@torch.no_grad()
def send(network: DeepJscc, picture: Image, channel: ChannelState, seed: int) -> tuple[Image, float]:
    """The picture that arrives over AWGN, and its bandwidth ratio."""
    pictures = padded(picture)
    symbols = network.encode(pictures)[0]
    received = carry(channel, symbols, torch.Generator().manual_seed(seed)).symbols
    # It was trained with what arrives as it is: undo the linear estimate, which scales by SNR / (1 + SNR).
    received = received * (1 + 10 ** (-channel.snr_db / 10))
    decoded = as_image(network.decode(received[None], (pictures.shape[2], pictures.shape[3])))
    return decoded[: picture.shape[0], : picture.shape[1]], len(symbols) / picture.size


class DeepJsccTraining(CropRecipe[DeepJscc]):
    """Distortion after Gaussian noise of random SNR."""

    name, kind = KIND, KIND
    defaults = Defaults(minutes=75.0, batch=16, rate=5e-3, warm_share=0.02, log_every=50, evaluate_minutes=5.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        super().add_flags(parser)
        parser.add_argument(
            "--symbols", type=at_least(1), default=3, help="of 4×4 pixels: 2 at 1/24, 3 at 1/16 (default: 3)"
        )

    def prepare(self) -> DeepJscc:
        self.read_pictures()
        return DeepJscc(DeepJsccConfig(symbols=self.options.symbols)).to(memory_format=torch.channels_last)

    def optimisers(self, network: DeepJscc) -> Sequence[torch.optim.Optimizer]:
        return muon_and_adamw(network, self.options.rate, (nn.Conv2d, nn.ConvTranspose2d))

    def step(self, network: DeepJscc, batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        with self.autocast():
            loss, psnr_db = _loss(network, batch, random_snr_db(len(batch), self.generator), self.generator)
        return DISTORTION * loss, {"psnr": psnr_db.mean()}

    def evaluate(self, network: DeepJscc) -> dict[str, float]:
        """Mean PSNR in dB at 7 dB."""
        crops = self.validation
        with self.autocast():
            _, psnr_db = _loss(network, crops, torch.full((len(crops),), 7.0), torch.Generator().manual_seed(0))
        return {"psnr_db_at_7": float(psnr_db.mean())}


def _loss(network: DeepJscc, crops: Tensor, snr_db: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As of `crop_losses`, after noise of (B,) SNRs in dB."""
    symbols = network.encode(crops)
    snr = from_db(snr_db.to(crops.device))[:, None]
    received = transmitted(symbols, torch.ones_like(symbols), snr, generator)
    return crop_losses(network.decode(received, (crops.shape[2], crops.shape[3])), crops)


if __name__ == "__main__":
    raise SystemExit(main(DeepJsccTraining))
