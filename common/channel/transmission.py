"""Pictures through the image channel with exact accounting of channel uses."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.arrays import ByteArray, Image
from common.channel.diffusion import DiffusionDecoder, sample
from common.channel.expected_error import as_psnr_db
from common.channel.importance import map_bits, weights_of
from common.channel.jscc import normalised, position_snr_db
from common.channel.lengths import allocated_lengths, gathered, length_mask, scattered, sufficient_lengths
from common.channel.model import COST_POWER, ImageChannel, ImageChannelConfig, Source
from common.channel.physical import Received, capacity_bits, carry
from common.channel.signal import Signal, payload_uses
from common.channel.state import LENGTHS, ChannelState
from common.errors import SourceError
from common.imaging.entropy import Statistics, rounded
from common.imaging.grid import STRIDE, hyper_grid
from common.imaging.transforms import as_image, padded
from common.weights.devices import fast_autocast
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY

WEIGHTS_NAME = "image_channel"
KIND = "image_channel"
# Trial decodings by which the symbols for a quality are corrected.
_TRIALS = 3
# dB for e times the symbols: before there are two trials, and the range of what two may say.
_SLOPE_DB = 3.0
_SLOPES_DB = (1.0, 6.0)
_OTHER_WEIGHTS = "the signal was encoded with other weights: encode the picture again"


def load_network(name: str = WEIGHTS_NAME, directory: Path = WEIGHTS_DIRECTORY) -> ImageChannel:
    """The trained image channel. Raises WeightsError if the weights are missing, damaged or of another version."""
    return load_recorded(name, KIND, ImageChannelConfig, ImageChannel, directory)


@dataclass(frozen=True, slots=True)
class Transmitter:
    """The sender's side.

    Args:
        channel: as the sender believes it to be.
        rate: bandwidth ratio that must not be exceeded: channel uses per colour value of a pixel.
        margin_db: the hyper latents are coded for an SNR that is lower by this much, so that they arrive on a channel
            that is worse than believed.
        refinement: steps of descent on the symbols of each picture (`refined`); 0 for none.
        quality_db: PSNR to reach, of errors weighted by importance, with as few symbols as the channel takes; `rate`
            is then the most.  None to use `rate` up.
    """

    network: ImageChannel
    channel: ChannelState
    rate: Fraction
    margin_db: float = 0.0
    refinement: int = 0
    quality_db: float | None = None

    @torch.no_grad()
    def encode(self, picture: Image, importance: ByteArray | None = None) -> Signal:
        """The signal of a picture (H, W, 3) of 8 bits.

        Args:
            importance: (H/16, W/16) level of each position (`common.channel.importance`), sent as side information.

        Raises:
            UsageError: the rate is too low for the picture.
        """
        size = (picture.shape[0], picture.shape[1])
        pictures = padded(picture)
        with fast_autocast():
            source = self.network.source(pictures)
        side_uses, hyper_latents = 0, torch.zeros(1, 0, 0, 0)
        if source.z is not None:
            hyper_latents = rounded(source.z)
            side_uses = self._side_uses(float(self.network.side_bits(hyper_latents)) + map_bits(importance))
        payload = payload_uses(self.rate, size, side_uses, self.channel.data_share)
        level_db, weights = torch.tensor([self.channel.snr_db]), weights_of(importance)
        if self.quality_db is None:
            lengths = self.network.lengths(source.statistics, _mean_length(payload, source), level_db, weights)
        else:
            costs = self.network.costs(source.statistics, level_db, weights)
            payload = self._sufficient_uses(source, pictures, size, costs, weights, payload)
            lengths = allocated_lengths(costs, _mean_length(payload, source))
        symbols = self._symbols(source, lengths)
        if self.refinement:
            target = Target(pictures, size, source.statistics, lengths)
            symbols = refined(self.network, self.channel, target, symbols, self.refinement)
        sent = gathered(symbols, lengths)
        return Signal(sent, hyper_latents, size, payload, side_uses, self.channel.snr_db, importance)

    def _symbols(self, source: Source, lengths: Tensor) -> Tensor:
        with fast_autocast():
            return self.network.encode(source, torch.full(lengths.shape, self.channel.snr_db), lengths)

    def _sufficient_uses(
        self,
        source: Source,
        pictures: Tensor,
        size: tuple[int, int],
        costs: Tensor,
        weights: Tensor | None,
        most: int,
    ) -> int:
        """Fewest symbols that reach the wanted quality: as expected, then corrected by what trials give."""
        assert self.quality_db is not None
        generator, positions = torch.Generator().manual_seed(0), costs.shape[2] * costs.shape[3]
        wanted_cost = torch.tensor([10 ** (-self.quality_db / 10 * COST_POWER)])
        uses = min(float(sufficient_lengths(costs, wanted_cost).sum()), float(most))
        tried: list[tuple[float, float]] = []
        for _ in range(_TRIALS):
            lengths = allocated_lengths(costs, _mean_length(uses, source))
            target = Target(pictures, size, source.statistics, lengths)
            decoded = _decoded(self.network, self.channel, target, self._symbols(source, lengths), generator)
            tried.append((math.log(uses), as_psnr_db(_weighted_error(decoded, target, weights))))
            uses = min(max(_uses_for(tried, self.quality_db), LENGTHS[0] * positions), float(most))
        return round(uses)

    def _side_uses(self, bits: float) -> int:
        """Channel uses of side information that is coded at capacity."""
        weaker = ChannelState(self.channel.snr_db - self.margin_db, self.channel.kind, loss=self.channel.loss)
        return math.ceil(bits / capacity_bits(weaker) / self.channel.data_share)


@dataclass(frozen=True, slots=True)
class Completion:
    """How the diffusion decoder completes a picture.

    Args:
        steps: passes of the network; more than one invent detail.
        seed: of the detail that it invents.
    """

    network: DiffusionDecoder
    steps: int = 1
    seed: int = 0


@torch.no_grad()
def decode(network: ImageChannel, signal: Signal, received: Received, completion: Completion | None = None) -> Image:
    """The picture (H, W, 3) of 8 bits.

    Args:
        signal: all but its symbols is known to the receiver.
        completion: by the diffusion decoder; None for the plain decoder alone.

    Raises:
        SourceError: the signal was made by another network.
    """
    statistics, lengths = _statistics(network, signal), lengths_of(network, signal)
    if int(lengths.sum()) != len(received.symbols):
        raise SourceError(_OTHER_WEIGHTS)
    symbols = scattered(received.symbols, lengths)
    snr_db = position_snr_db(scattered(received.snr, lengths), lengths)
    with fast_autocast():
        decoded = network.decode(symbols, statistics, snr_db, lengths)
        pictures = decoded.pictures
        if completion is not None:
            generator = torch.Generator().manual_seed(completion.seed)
            pictures = sample(completion.network, decoded, generator, completion.steps)
    return as_image(pictures)[: signal.size[0], : signal.size[1]]


def lengths_of(network: ImageChannel, signal: Signal) -> Tensor:
    """(1, H/16, W/16) symbols of each position, as both ends compute them.

    Raises:
        SourceError: the signal was made by another network.
    """
    level_db = torch.tensor([signal.snr_db])
    statistics = _statistics(network, signal)
    return network.lengths(statistics, signal.mean_length, level_db, weights_of(signal.importance))


def _statistics(network: ImageChannel, signal: Signal) -> Statistics:
    grid, latents = signal.grid, network.config.latents
    if network.hyperprior is None:
        return Statistics(torch.zeros(1, latents, *grid), torch.ones(1, latents, *grid))
    if signal.hyper_latents.shape != (1, network.config.hyper_latents, *hyper_grid(signal.size)):
        raise SourceError(_OTHER_WEIGHTS)
    return network.statistics(signal.hyper_latents, grid)


def _mean_length(uses: float, source: Source) -> Tensor:
    """(1,) channel uses per position, in double precision."""
    return torch.tensor([uses / source.y.shape[-2:].numel()], dtype=torch.float64)


def _uses_for(tried: list[tuple[float, float]], wanted_db: float) -> float:
    """Symbols that reach a quality, from trials (log of the symbols, dB), by the secant of the last two."""
    slope = _SLOPE_DB
    if len(tried) > 1 and tried[-1][0] != tried[-2][0]:
        slope = (tried[-1][1] - tried[-2][1]) / (tried[-1][0] - tried[-2][0])
    least, largest = _SLOPES_DB
    return math.exp(tried[-1][0] + (wanted_db - tried[-1][1]) / min(max(slope, least), largest))


def _weighted_error(decoded: Tensor, target: "Target", weights: Tensor | None) -> float:
    """Mean squared error, 0…1, of the pixels that count; `weights` (1, H'/16, W'/16) of the positions."""
    height, width = target.size
    errors = (decoded.float().clamp(0, 1) - target.picture).square().mean(1)[:, :height, :width]
    if weights is None:
        return float(errors.mean())
    spread = weights.repeat_interleave(STRIDE, 1).repeat_interleave(STRIDE, 2)[:, :height, :width]
    return float((errors * spread).sum() / spread.sum())


def psnr_db(picture: Image, original: Image) -> float:
    """Peak signal-to-noise ratio of 8-bit RGB."""
    error = float(np.square(picture.astype(np.float64) - original).mean())
    return 10 * math.log10(255**2 / max(error, 1e-10))


_RATE = 0.05
_SMALLEST_ERROR = 1e-8


@dataclass(frozen=True, slots=True)
class Target:
    """What the symbols are for.

    Args:
        picture: (1, 3, H', W') original, padded to multiples of 16, 0…1.
        size: height and width that count, pixels.
        statistics: of its latents, as the receiver knows them.
        lengths: (1, H'/16, W'/16) complex symbols of each position.
    """

    picture: Tensor
    size: tuple[int, int]
    statistics: Statistics
    lengths: Tensor


def refined(network: ImageChannel, channel: ChannelState, target: Target, symbols: Tensor, steps: int) -> Tensor:
    """Symbols (1, H'/16, W'/16, MAX_LENGTH) after `steps` steps of Adam; lengths and power of each position stay.

    The encoder is trained for all pictures; the best symbols for one are found by descent on the decoded picture's
    error over random noise (after the latent overfitting of NTSCC+, Wang et al. 2023, but on the symbols themselves).

    Args:
        network: that will decode; its weights do not change.
        channel: as the sender believes it to be.
        symbols: as the encoder makes them, shape as the result.
        steps: passes forward and back through the decoder.
    """
    generator = torch.Generator().manual_seed(0)
    free = torch.view_as_real(symbols).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([free], lr=_RATE)
    mask = length_mask(target.lengths)
    height, width = target.size
    original = target.picture[..., :height, :width]
    with torch.enable_grad():
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            sent = normalised(torch.view_as_complex(free) * mask, target.lengths)
            decoded = _decoded(network, channel, target, sent, generator)[..., :height, :width]
            error = (decoded.float() - original).square().mean()
            (free.grad,) = torch.autograd.grad((error + _SMALLEST_ERROR).log(), [free])
            optimiser.step()
    return normalised(torch.view_as_complex(free.detach()) * mask, target.lengths)


def _decoded(
    network: ImageChannel, channel: ChannelState, target: Target, symbols: Tensor, generator: torch.Generator
) -> Tensor:
    received = carry(channel, gathered(symbols, target.lengths), generator)
    snr_db = position_snr_db(scattered(received.snr, target.lengths), target.lengths)
    with fast_autocast():
        sent = scattered(received.symbols, target.lengths)
        return network.decode(sent, target.statistics, snr_db, target.lengths).pictures
