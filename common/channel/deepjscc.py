"""DeepJSCC, the baseline: a convolutional autoencoder whose code are the symbols (Bourtsoulatze et al. 2019)."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.weights.loader import architecture_of, load_into
from common.weights.manifest import recorded_config

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
    """Five convolutions to symbols, five transposed ones back, each with PReLU; it knows nothing of the channel.

    Args:
        config: sizes.
    """

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


def architecture(config: DeepJsccConfig) -> dict[str, Any]:
    """What the manifest records of a network."""
    return {"kind": KIND, **architecture_of(config)}


def load_network(name: str, directory: Path) -> DeepJscc:
    """A trained baseline.

    Raises:
        WeightsError: the weights are missing, damaged or of another version.
    """
    config = recorded_config(name, KIND, DeepJsccConfig, directory)
    return load_into(DeepJscc(config), name, architecture(config), directory)
