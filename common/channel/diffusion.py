"""Conditional diffusion decoder: from the plain decoder's picture to one with the detail that such a picture has.

The flow goes in straight lines from x₁ = x̂ + s ε, the plain picture with noise, at time 1 to the original x at time 0
(flow matching, Lipman et al. 2023, with the plain picture as the centre of its source).  The network estimates x from a
point x_t on the way, from x̂, from the received latents, and from the SNR and the length of each latent position, which
say how far the latents can be trusted.  One step suffices because the way is short: on held-back photographs it is
nearer to the original in the features of perception than several, which invent more detail.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.channel.model import Reconstruction
from common.imaging.layers import Blocks, upsampling
from common.imaging.transforms import LATENT_SCALE
from common.weights.loader import load_recorded

WEIGHTS_NAME = "picture_diffusion"
KIND = "picture_diffusion"
SOURCE_NOISE = 0.03
"""Standard deviation s of the noise at time 1, in units of the picture, 0…1."""
INVENTED = "Decoded by a diffusion decoder: fine detail is plausible, but invented."
"""Comment in the files of pictures that the diffusion decoder completed."""
_PATCH = 4
_CONDITION = 32
_DIFFERENCE_GAIN, _PICTURE_GAIN = 16.0, 4.0


@dataclass(frozen=True, slots=True)
class DiffusionDecoderConfig:
    """Sizes.

    Args:
        widths: channels at 1/4, 1/8 and 1/16.
        latents: channels of the received latents.
    """

    widths: tuple[int, int, int] = (96, 192, 320)
    latents: int = 192


class DiffusionDecoder(nn.Module):
    """Estimates the original from a point on the way to it.

    The path from the latents to pixels has the layers of the plain decoder's `Synthesis`, so that training can start
    from its weights; what the point adds enters at 1/4, 1/8 and 1/16, and time and channel modulate every block.
    """

    def __init__(self, config: DiffusionDecoderConfig) -> None:
        super().__init__()
        self.config = config
        quarter, eighth, sixteenth = config.widths
        values = 3 * _PATCH * _PATCH
        self.condition = nn.Sequential(
            nn.Conv2d(4, _CONDITION, 1), nn.ReLU(), nn.Conv2d(_CONDITION, _CONDITION, 1), nn.ReLU()
        )
        self.point_quarter = nn.Conv2d(2 * values, quarter, 3, padding=1)
        self.point_blocks_quarter = Blocks(1, quarter, _CONDITION)
        self.point_eighth = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.point_blocks_eighth = Blocks(1, eighth, _CONDITION)
        self.point_sixteenth = nn.Conv2d(eighth, sixteenth, 2, stride=2)
        self.into_quarter, self.into_eighth, self.into_sixteenth = (
            _zero(nn.Conv2d(width, width, 1)) for width in config.widths
        )
        self.synthesis = nn.ModuleList(
            (
                nn.Conv2d(config.latents, sixteenth, 1),
                Blocks(1, sixteenth, _CONDITION),
                upsampling(sixteenth, eighth),
                Blocks(3, eighth, _CONDITION),
                upsampling(eighth, quarter),
                Blocks(2, quarter, _CONDITION),
                nn.Conv2d(quarter, values, 3, padding=1),
                nn.PixelShuffle(_PATCH),
            )
        )

    def forward(self, between: Tensor, plain: Tensor, state: Reconstruction, time: Tensor) -> Tensor:
        """Estimated originals (B, 3, H, W), in float32.

        Args:
            between: (B, 3, H, W) x_t.
            plain: (B, 3, H, W) x̂, clipped to 0…1.
            time: (B,) t, 0…1.
        """
        sixteenth = self._condition(state, time)
        eighth, quarter = (functional.interpolate(sixteenth, scale_factor=scale, mode="nearest") for scale in (2, 4))
        # The best linear estimate of x − x̂ from x_t alone, if the plain picture's error is as large as the noise.
        # It is zero at time 1, where x_t knows nothing.
        share = ((1 - time) / ((1 - time).square() + time.square()))[:, None, None, None]
        point = share * (between - plain)
        inputs = torch.cat((point * _DIFFERENCE_GAIN, (plain - 0.5) * _PICTURE_GAIN), dim=1)
        fine = self.point_blocks_quarter(self.point_quarter(functional.pixel_unshuffle(inputs, _PATCH)), quarter)
        middle = self.point_blocks_eighth(self.point_eighth(fine), eighth)
        coarse = self.point_sixteenth(middle)

        enter, blocks_16, to_eighth, blocks_8, to_quarter, blocks_4, leave, shuffle = self.synthesis
        x = enter(state.latents / LATENT_SCALE) + self.into_sixteenth(coarse)
        x = to_eighth(blocks_16(x, sixteenth)) + self.into_eighth(middle)
        x = to_quarter(blocks_8(x, eighth)) + self.into_quarter(fine)
        estimate: Tensor = shuffle(leave(blocks_4(x, quarter))).float() + 0.5
        return estimate + point

    def _condition(self, state: Reconstruction, time: Tensor) -> Tensor:
        t = time[:, None, None].expand(state.snr_db.shape)
        levels = (state.snr_db / 10, torch.log2(state.lengths / 48), 4 * t - 2, torch.cos(torch.pi * t))
        features: Tensor = self.condition(torch.stack(levels, dim=1))
        return features


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def start(plain: Tensor, generator: torch.Generator) -> Tensor:
    """x₁ of plain pictures, clipped to 0…1."""
    return plain + SOURCE_NOISE * torch.randn(plain.shape, generator=generator).to(plain.device)


@torch.no_grad()
def completed(network: DiffusionDecoder, state: Reconstruction) -> Tensor:
    """Pictures (B, 3, H, W), not clipped, by one Euler step along the flow: the mean of what is plausible.

    The noise at time 1 does not count, because x₁ tells nothing that the plain picture does not.
    """
    plain = state.pictures.float().clamp(0, 1)
    pictures: Tensor = network(plain, plain, state, plain.new_ones(len(plain)))
    return pictures


def load_decoder() -> DiffusionDecoder:
    """The trained diffusion decoder. Raises WeightsError if the weights are missing, damaged or of another version."""
    return load_recorded(WEIGHTS_NAME, KIND, DiffusionDecoderConfig, DiffusionDecoder)
