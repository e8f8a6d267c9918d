"""The image channel's codec: latents by importance and budget to symbols, and symbols to pictures.

Each position gets the length at which the cost of its expected error and the price of its symbols are least together,
as sender and receiver both can compute it; one price for the whole picture keeps the budget (Lagrangian bit allocation,
Shoham and Gersho 1988).  LRISC (Yin et al. 2025) has Q(−η log p) instead.

The image channel: transforms, entropy model and joint source-channel coding in one network (LRISC, Yin et al. 2025).

x ─ analysis ─ y ─────────────────── JSCC encoder ─ s ═ channel ═ ŝ ─ JSCC decoder ─ ŷ ─ synthesis ─ x̂
               └─ hyperprior ─ z ─ μ, σ ─┴─ lengths k ─────────────────────┘

What of a picture matters most: a level for each latent position, which is sent beside the hyper latents.

Level 0 is background, 1 a person, 2 a face or a hand.  The cost of a position's error counts (1 + level)^1.75 times
when lengths are chosen.  The exponent was chosen on held-back photographs as the largest by which, on average over
bandwidth ratios of 1/24 and 1/48 and SNRs of 1 to 10 dB, the PSNR of whole pictures falls by at most 0.4 dB.

How large the error of a latent position will be, from what the hyperprior says of it, its length and its SNR.

Both ends can compute it, and so the lengths that make the whole error least.  log₂ of the mean squared error of a
position's 16×16 pixels is a polynomial in four features: the entropy of the latents, its ratio to that at a quantiser
step of 4, the length, and the SNR.  It is of third degree, and linear in the first two, so that it has sane values for
pictures unlike those that `python -m sender.train.image_channel` fitted it to.
"""

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import common
from common.arrays import ByteArray, Image
from common.channel.channel import Received, Signal, capacity_bits
from common.channel.state import LENGTHS, MAX_LENGTH, ChannelState
from common.errors import MalformedPacket, UsageError, WeightsError
from common.imaging.entropy import (
    Hyperprior,
    Statistics,
    expected_bits,
    gaussian_bits,
    noisy,
    padded_for_hyperprior,
    rounded,
)
from common.imaging.grid import latent_grid
from common.imaging.transforms import LATENT_SCALE, Analysis, Blocks, Synthesis, as_image, padded
from common.weights.devices import fast_autocast
from common.weights.loader import load_recorded

_BISECTIONS = 40
_PRICES = (1e-12, 1e2)


def allocated_lengths(costs: Tensor, mean_length: Tensor) -> Tensor:
    """Lengths (B, H, W) of least cost, of which each picture's mean is at most as wanted.

    Args:
        costs: (B, len(LENGTHS), H, W) of each position at each length.
        mean_length: (B,) complex symbols per position; the smallest of `LENGTHS` is used where it is smaller.
    """
    # In whole symbols: a budget that is used up exactly must not be lost by rounding.
    most = mean_length.double() * (costs.shape[2] * costs.shape[3]) + 0.01
    low, high = (costs.new_full((len(costs),), price) for price in _PRICES)
    for _ in range(_BISECTIONS):
        middle = (low * high).sqrt()
        fits = _priced_lengths(costs, middle).sum((1, 2)) <= most
        low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
    return _priced_lengths(costs, high)


def _priced_lengths(costs: Tensor, price: Tensor) -> Tensor:
    """(B, H, W) of `LENGTHS`, where cost and price (B,) of the symbols are least together."""
    sizes = torch.tensor(LENGTHS, device=costs.device)
    best = (costs + price[:, None, None, None] * sizes[:, None, None]).argmin(1)
    return sizes[best]


def length_mask(lengths: Tensor) -> Tensor:
    """(…, MAX_LENGTH) whether a symbol is within its position's length."""
    return torch.arange(MAX_LENGTH, device=lengths.device) < lengths[..., None]


def position_order(count: int) -> Tensor:
    """(count,) fixed random order in which positions are sent, so that a fade hits scattered ones."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def gathered(symbols: Tensor, lengths: Tensor) -> Tensor:
    """(n,) the symbols (1, H, W, MAX_LENGTH) within the lengths (1, H, W), in the order of sending."""
    order = position_order(lengths.numel())
    return symbols.reshape(-1, MAX_LENGTH)[order][length_mask(lengths.reshape(-1)[order])]


def scattered(values: Tensor, lengths: Tensor) -> Tensor:
    """(1, H, W, MAX_LENGTH) the inverse of `gathered`, zero beyond the lengths."""
    order = position_order(lengths.numel())
    sent = torch.zeros(len(order), MAX_LENGTH, dtype=values.dtype)
    sent[length_mask(lengths.reshape(-1)[order])] = values
    placed = torch.empty_like(sent)
    placed[order] = sent
    return placed.reshape(*lengths.shape, MAX_LENGTH)


_CONDITION = 32
# An erased symbol has no power; its level in dB is cut here.
MIN_SNR_DB = -20.0


class Condition(nn.Module):
    """Features (B, 32, H, W) of the channel's state at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, _CONDITION, 1), nn.ReLU(), nn.Conv2d(_CONDITION, _CONDITION, 1), nn.ReLU()
        )

    def forward(self, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Of the SNR (B, H, W) in dB and the lengths (B, H, W)."""
        features: Tensor = self.layers(torch.stack((snr_db / 10.0, torch.log2(lengths / 48.0)), dim=1))
        return features


class JsccEncoder(nn.Module):
    """Latents to symbols.

    Args:
        latents: channels of y.
        width: channels inside.
        depth: residual blocks.
    """

    def __init__(self, latents: int, width: int, depth: int) -> None:
        super().__init__()
        self.condition = Condition()
        self.enter = nn.Conv2d(2 * latents, width, 1)
        self.blocks = Blocks(depth, width, _CONDITION)
        self.leave = nn.Conv2d(width, 2 * MAX_LENGTH, 1)

    def forward(self, y: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Complex symbols (B, H, W, MAX_LENGTH) of mean power 1 within each position's length, zero beyond it."""
        source = (y.float() - statistics.mean) / statistics.scale.sqrt()
        features = self.enter(torch.cat((source, statistics.scale.log()), dim=1))
        features = self.blocks(features, self.condition(snr_db, lengths))
        return normalised(as_complex(self.leave(features)) * length_mask(lengths), lengths)


class JsccDecoder(nn.Module):
    """Received symbols to latents."""

    def __init__(self, latents: int, width: int, depth: int) -> None:
        super().__init__()
        self.condition = Condition()
        self.enter = nn.Conv2d(2 * MAX_LENGTH + 2 * latents, width, 1)
        self.blocks = Blocks(depth, width, _CONDITION)
        self.leave = nn.Conv2d(width, latents, 1)

    def forward(self, symbols: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Estimated latents (B, latents, H, W).

        Args:
            symbols: (B, H, W, MAX_LENGTH) equalised, complex, zero beyond the lengths.
            snr_db: (B, H, W) effective SNR of each position.
            lengths: (B, H, W) complex symbols of each position.
        """
        reals = torch.view_as_real(symbols).flatten(3).permute(0, 3, 1, 2)
        features = self.enter(torch.cat((reals, statistics.mean / 8.0, statistics.scale.log()), dim=1))
        features = self.blocks(features, self.condition(snr_db, lengths))
        left: Tensor = self.leave(features)
        return statistics.mean + statistics.scale.sqrt() * left.float()


def as_complex(reals: Tensor) -> Tensor:
    """(B, 2 n, H, W) to complex (B, H, W, n)."""
    return torch.view_as_complex(reals.float().permute(0, 2, 3, 1).unflatten(3, (-1, 2)).contiguous())


def normalised(symbols: Tensor, lengths: Tensor) -> Tensor:
    """Symbols (…, MAX_LENGTH), zero beyond the lengths (…), scaled to mean power 1 within them."""
    energy = torch.view_as_real(symbols).square().sum((-1, -2))
    return symbols * torch.rsqrt(energy / lengths + 1e-12)[..., None]


def position_snr_db(snr: Tensor, lengths: Tensor) -> Tensor:
    """Effective SNR (B, H, W) of each position in dB, from the mean error of its symbols.

    Args:
        snr: (B, H, W, MAX_LENGTH) linear, of each symbol.
        lengths: (B, H, W) complex symbols of each position.
    """
    error = (length_mask(lengths) / (1 + snr)).sum(-1) / lengths
    return (10 * torch.log10((1 / error - 1).clamp_min(1e-9))).clamp_min(MIN_SNR_DB)


ERRORS_FILE: Final = Path(common.__file__).parent / "weights" / "channel_errors.json"
_COARSE_STEP: Final = 4.0
_DEGREE: Final = 3
# Mean and standard deviation of the features on photographs, about.
_CENTRES: Final = (6.7, 2.0, 4.7, 0.6)
_SPREADS: Final = (0.4, 0.5, 1.5, 0.5)
# Further away from its centre, a feature is cut: a polynomial does not extrapolate.
_REACH: Final = 3.0
SNR_RANGE_DB: Final = (-1.0, 13.0)
"""Of the fit; other SNRs count as the nearest of it."""
_MONOMIALS: Final = tuple(
    chosen
    for degree in range(_DEGREE + 1)
    for chosen in combinations_with_replacement(range(len(_CENTRES)), degree)
    if sum(feature < 2 for feature in chosen) <= 1
)
TERMS: Final = len(_MONOMIALS)


@cache
def load_coefficients(path: Path = ERRORS_FILE) -> Tensor:
    """(TERMS,) of the polynomial, in double precision.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        coefficients = json.loads(path.read_text(encoding="utf-8"))["coefficients"]
        return torch.tensor(coefficients, dtype=torch.float64).reshape(TERMS)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} is missing or broken; reinstall the package") from error


def error_curves(statistics: Statistics, snr_db: Tensor) -> Tensor:
    """Expected mean squared error (B, len(LENGTHS), H, W) of pixels, 0…1, at each length and the mean SNR (B,)."""
    own, coefficients = features(statistics), load_coefficients().to(snr_db.device)
    level_db = snr_db[:, None, None].expand(own.shape[:3])
    at_lengths = [terms(own, torch.full_like(level_db, length), level_db) @ coefficients for length in LENGTHS]
    return torch.stack(at_lengths, dim=1).exp2()


def features(statistics: Statistics) -> Tensor:
    """(B, H, W, 2) in double precision: log₂ of each position's entropy in bits, and of its ratio to the coarse one."""
    scale = statistics.scale.double()
    fine, coarse = (
        torch.log2(1 + expected_bits(Statistics(statistics.mean, scale / step))) for step in (1.0, _COARSE_STEP)
    )
    return torch.stack((fine, fine - coarse), dim=-1)


def terms(own: Tensor, lengths: Tensor, snr_db: Tensor) -> Tensor:
    """(…, TERMS) monomials; of `features` (…, 2), lengths (…) and SNR (…)."""
    of_channel = torch.log2(lengths.double()), snr_db.double().clamp(*SNR_RANGE_DB) / 10
    raw = torch.cat((own, torch.stack(of_channel, dim=-1)), dim=-1)
    centred = ((raw - raw.new_tensor(_CENTRES)) / raw.new_tensor(_SPREADS)).clamp(-_REACH, _REACH)
    return torch.stack([centred[..., list(chosen)].prod(-1) for chosen in _MONOMIALS], dim=-1)


COST_POWER = 0.6
"""Of a position's squared error.  The error itself would starve smooth positions: on held-back photographs that gains
0.1 dB over lengths by entropy, but perceptual distances grow by 1 to 4 %.  With 0.6 neither is worse."""


@dataclass(frozen=True, slots=True)
class ImageChannelConfig:
    """Sizes.

    Args:
        widths: channels at 1/4, 1/8 and 1/16.
        latents: channels of y.
        hyper_latents: channels of z.
        hyper_width: channels inside the hyperprior.
        encoder_depth: residual blocks of the JSCC encoder.
        decoder_depth: residual blocks of the JSCC decoder.
    """

    widths: tuple[int, int, int] = (96, 192, 320)
    latents: int = 192
    hyper_latents: int = 48
    hyper_width: int = 128
    encoder_depth: int = 3
    decoder_depth: int = 4


class Source(NamedTuple):
    """What the sender knows of pictures.

    Args:
        y: latents (B, latents, H/16, W/16).
        statistics: what the receiver knows of them.
        z: unrounded hyper latents.
    """

    y: Tensor
    statistics: Statistics
    z: Tensor

    def first(self, count: int) -> "Source":
        """The first `count` pictures."""
        mean, scale = self.statistics
        return Source(self.y[:count], Statistics(mean[:count], scale[:count]), self.z[:count])


class ImageChannel(nn.Module):
    """All networks of the image channel; see the module."""

    def __init__(self, config: ImageChannelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.widths, config.latents)
        self.synthesis = Synthesis(config.widths, config.latents)
        self.hyperprior = Hyperprior(config.latents, config.hyper_latents, config.hyper_width)
        self.encoder = JsccEncoder(config.latents, config.widths[2], config.encoder_depth)
        self.decoder = JsccDecoder(config.latents, config.widths[2], config.decoder_depth)

    def source(self, pictures: Tensor) -> Source:
        """Latents of pictures (B, 3, H, W), 0…1, whose height and width are multiples of 16."""
        y = self.analysis(pictures).float()
        z = self.hyperprior.analysis(padded_for_hyperprior(y / LATENT_SCALE)).float()
        return Source(y, self.statistics(rounded(z), y.shape[-2:]), z)

    def statistics(self, z: Tensor, size: torch.Size | tuple[int, ...]) -> Statistics:
        """What whole hyper latents say about latents of `size` (height, width).

        In float32 everywhere, because both ends derive the lengths from it.
        """
        with torch.autocast(z.device.type, enabled=False):
            mean, scale = self.hyperprior.statistics(z.float())
        return Statistics(mean[..., : size[0], : size[1]], scale[..., : size[0], : size[1]])

    def side_bits(self, z: Tensor) -> Tensor:
        """(B,) bits of hyper latents, whole or noisy."""
        return self.hyperprior.prior.bits(z).sum((1, 2, 3))

    @torch.no_grad()
    def lengths(
        self, statistics: Statistics, mean_length: Tensor, snr_db: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """(B, H/16, W/16) complex symbols of each position, whose means are at most `mean_length` (B,).

        Args:
            snr_db: (B,) mean of the channel.
            weights: (B, H/16, W/16) of the positions' costs, by their ratio to the mean; None for equal ones.
        """
        costs = error_curves(statistics, snr_db) ** COST_POWER
        if weights is not None:
            costs = costs * (weights / weights.mean((1, 2), keepdim=True))[:, None]
        return allocated_lengths(costs, mean_length)

    def encode(self, source: Source, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Complex symbols (B, H/16, W/16, MAX_LENGTH) for a channel of `snr_db` (B, H/16, W/16)."""
        symbols: Tensor = self.encoder(source.y, detached(source.statistics), snr_db, lengths)
        return symbols

    def decode(self, symbols: Tensor, statistics: Statistics, snr_db: Tensor, lengths: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), not clipped to 0…1; arguments as for `JsccDecoder`."""
        pictures: Tensor = self.synthesis(self.decoder(symbols, detached(statistics), snr_db, lengths))
        return pictures

    def digital(self, source: Source) -> tuple[Tensor, Tensor]:
        """Pictures of rounded latents, and (B,) bits of latents and hyper latents; for training."""
        y_hat = rounded(source.y - source.statistics.mean) + source.statistics.mean
        bits = gaussian_bits(noisy(source.y), source.statistics).sum((1, 2, 3))
        return self.synthesis(y_hat), bits + self.side_bits(noisy(source.z))


def detached(statistics: Statistics) -> Statistics:
    """The same numbers without gradient: the entropy model learns from likelihood alone."""
    return Statistics(statistics.mean.detach(), statistics.scale.detach())


LEVELS: Final = 3
EXPONENT: Final = 1.75
# Beginnings of the counts: for any level, and for that of each neighbour.
_PRIOR, _NEIGHBOUR_PRIOR = 0.125, 1.5


def weights_of(levels: ByteArray | None) -> Tensor | None:
    """(1, H, W) weights of the positions' costs, of levels (H, W); None for equal ones."""
    return None if levels is None else (1.0 + torch.from_numpy(levels.astype(np.float64)))[None] ** EXPONENT


def map_bits(levels: ByteArray | None) -> float:
    """Bits of the levels (H, W) by an adaptive arithmetic code: row by row, given the levels to the left and above."""
    if levels is None:
        return 0.0
    counts: dict[tuple[int, int], list[float]] = {}
    bits, above = 0.0, [0] * levels.shape[1]
    for row in levels.tolist():
        left = 0
        for column, level in enumerate(row):
            neighbours = (left, above[column])
            own = counts.setdefault(neighbours, _prior(neighbours))
            bits -= math.log2(own[level] / sum(own))
            own[level] += 1
            left = level
        above = row
    return bits


def _prior(neighbours: tuple[int, int]) -> list[float]:
    return [_PRIOR + _NEIGHBOUR_PRIOR * neighbours.count(level) for level in range(LEVELS)]


WEIGHTS_NAME = "image_channel"
KIND = "image_channel"


def load_network() -> ImageChannel:
    """The trained image channel. Raises WeightsError if the weights are missing, damaged or of another version."""
    return load_recorded(WEIGHTS_NAME, KIND, ImageChannelConfig, ImageChannel)


@torch.no_grad()
def encode(
    network: ImageChannel, picture: Image, channel: ChannelState, rate: Fraction, importance: ByteArray | None = None
) -> Signal:
    """The signal of a picture (H, W, 3) of 8 bits.

    Args:
        rate: bandwidth ratio that must not be exceeded: channel uses per colour value of a pixel.
        importance: (H/16, W/16) level of each position (`weights_of`), sent as side information where
            it has room.

    Raises:
        UsageError: the rate is too low for the picture.
    """
    size = (picture.shape[0], picture.shape[1])
    with fast_autocast():
        source = network.source(padded(picture))
    hyper_latents = rounded(source.z)
    hyper_bits, positions = float(network.side_bits(hyper_latents)), math.prod(latent_grid(size))
    values, least_uses = 3 * size[0] * size[1], LENGTHS[0] * positions
    most_uses = int(rate * values)
    side_uses = math.ceil((hyper_bits + map_bits(importance)) / capacity_bits(channel))
    if side_uses + least_uses > most_uses:
        importance, side_uses = None, math.ceil(hyper_bits / capacity_bits(channel))
    if side_uses + least_uses > most_uses:
        enough = int(values / (least_uses + side_uses))
        raise UsageError(f"--rate {rate} is too low for this picture and channel: use at least 1/{enough}")
    mean_length = torch.tensor([(most_uses - side_uses) / positions], dtype=torch.float64)
    lengths = network.lengths(source.statistics, mean_length, torch.tensor([channel.snr_db]), weights_of(importance))
    with fast_autocast():
        symbols = network.encode(source, torch.full(lengths.shape, channel.snr_db), lengths)
    return Signal(gathered(symbols, lengths), lengths, hyper_latents, size, side_uses)


@torch.no_grad()
def decode(network: ImageChannel, signal: Signal, received: Received) -> Image:
    """The picture (H, W, 3) of 8 bits.

    Args:
        signal: all but its symbols is known to the receiver.
        received: what the channel left of the symbols.

    Raises:
        MalformedPacket: the signal was made by another network.
    """
    if signal.hyper_latents.shape[1] != network.config.hyper_latents:
        raise MalformedPacket("a picture of another network")
    lengths = signal.lengths
    statistics = network.statistics(signal.hyper_latents, latent_grid(signal.size))
    snr_db = position_snr_db(scattered(received.snr, lengths), lengths)
    with fast_autocast():
        pictures = network.decode(scattered(received.symbols, lengths), statistics, snr_db, lengths)
    return as_image(pictures)[: signal.size[0], : signal.size[1]]
