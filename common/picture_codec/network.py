"""The networks of the picture codec: the image channel's transforms, with a gain for each quality and a hyperprior.

x ─ analysis ─ y ─ gain ─ round(y − μ) ─────── range coder ─── + μ ─ 1 / gain ─ synthesis ─ x̂
                     └─ hyper analysis ─ round ─ z ─ range coder ─ hyper synthesis ─ μ, σ

One network serves all qualities (Cui et al. 2021, "Asymmetric Gained Deep Image Compression With Continuous Rate
Adaptation"): latents are multiplied by a gain of each channel before they are rounded, and by another one after it.
The hyper synthesis decides symbols, so it computes in fixed point; analysis and synthesis need not be exact.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.imaging.entropy import FactorisedPrior, hyper_analysis, padded_for_hyperprior
from common.imaging.transforms import LATENT_SCALE, Analysis, Synthesis
from common.picture_codec.fixed_point import FixedPointConv, leaky

SCALES = 64
"""Standard deviations that a latent may have: `scale_of`."""
_SCALES_PER_E = 8
_LEAST_LOG_SCALE = -2.25
MAX_QUALITY = 100


@dataclass(frozen=True, slots=True)
class PictureCodecConfig:
    """Sizes.

    Args:
        widths: channels at 1/4, 1/8 and 1/16.
        latents: channels of y.
        hyper_latents: channels of z.
        hyper_width: channels inside the hyperprior.
        gains: qualities, evenly spaced, that have gains of their own; others interpolate.
    """

    widths: tuple[int, int, int] = (96, 192, 320)
    latents: int = 192
    hyper_latents: int = 48
    hyper_width: int = 128
    gains: int = 5

    def __post_init__(self) -> None:
        if self.gains < 2:
            raise ValueError("a picture codec has gains for at least two qualities")


class Prediction(NamedTuple):
    """Of the latents given z, (B, latents, H/16, W/16) each: their mean, and the logarithm of their deviation."""

    mean: Tensor
    log_scale: Tensor

    @property
    def scale_index(self) -> Tensor:
        """int64 0…SCALES − 1, of the standard deviation `scale_of`."""
        place = torch.floor((self.log_scale - _LEAST_LOG_SCALE) * _SCALES_PER_E + 0.5)
        return place.clamp(0, SCALES - 1).long()

    @property
    def scale(self) -> Tensor:
        """The standard deviation itself, within the range of the table; for training."""
        return self.log_scale.clamp(_LEAST_LOG_SCALE, _LEAST_LOG_SCALE + (SCALES - 1) / _SCALES_PER_E).exp()


def log_scales() -> Tensor:
    """(SCALES,) float64 natural logarithms of the standard deviations."""
    return _LEAST_LOG_SCALE + torch.arange(SCALES, dtype=torch.float64) / _SCALES_PER_E


class HyperSynthesis(nn.Module):
    """Whole hyper latents (B, C, h, w) to the prediction of four times as many latents in each direction.

    In float64 it is exact, and so equal on all machines; see `fixed_point`.

    Args:
        hyper_latents, width, latents: channels in, inside and out.
    """

    def __init__(self, hyper_latents: int, width: int, latents: int) -> None:
        super().__init__()
        self.first = FixedPointConv(hyper_latents, 4 * width)
        self.second = FixedPointConv(width, width, 3)
        self.third = FixedPointConv(width, 4 * width)
        self.fourth = FixedPointConv(width, width, 3)
        self.last = FixedPointConv(width, 2 * latents)

    def forward(self, z: Tensor) -> Prediction:
        x = leaky(self.second(functional.pixel_shuffle(self.first(z), 2)))
        x = leaky(self.fourth(functional.pixel_shuffle(self.third(x), 2)))
        mean, log_scale = self.last(x).chunk(2, dim=1)
        return Prediction(mean, log_scale)


class PictureCodecNetwork(nn.Module):
    """All networks of the picture codec; see the module."""

    def __init__(self, config: PictureCodecConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hyper_width
        self.analysis = Analysis(config.widths, config.latents)
        self.synthesis = Synthesis(config.widths, config.latents)
        self.hyper_analysis = hyper_analysis(config.latents, config.hyper_latents, width)
        self.hyper_synthesis = HyperSynthesis(config.hyper_latents, width, config.latents)
        self.prior = FactorisedPrior(config.hyper_latents)
        start = torch.linspace(-0.5, 1.0, config.gains)[:, None].repeat(1, config.latents)
        self.log_gain = nn.Parameter(start)
        self.log_inverse_gain = nn.Parameter(-start)

    def latents(self, pictures: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Unrounded latents y, with their gain, and hyper latents z.

        Args:
            pictures: (B, 3, H, W), 0…1, whose height and width are multiples of 16.
            quality: (B,) 0…1.

        Returns:
            y (B, latents, H/16, W/16) and z (B, hyper_latents, ⌈H/64⌉, ⌈W/64⌉), float32.
        """
        y = self.analysis(pictures).float() * interpolated(self.log_gain, quality).exp()
        return y, self.hyper_analysis(padded_for_hyperprior(y / LATENT_SCALE)).float()

    def pictures(self, y: Tensor, quality: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), not clipped to 0…1, of rounded latents with their gain; `quality` (B,) 0…1."""
        pictures: Tensor = self.synthesis(y * interpolated(self.log_inverse_gain, quality).exp())
        return pictures


def interpolated(values: Tensor, quality: Tensor) -> Tensor:
    """(B, C, 1, 1) values (n, C) at evenly spaced qualities 0…1, linear between them, at each `quality` (B,)."""
    place = quality.clamp(0, 1) * (len(values) - 1)
    below = place.floor().clamp(max=len(values) - 2)
    share = (place - below)[:, None]
    index = below.long()
    return ((1 - share) * values[index] + share * values[index + 1])[:, :, None, None]
