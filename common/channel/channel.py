"""The analogue channel: what fades and noise do to complex symbols, and the signal that carries them.

    s ─ × gain h ─ + noise n ─ received r ─ equalise ─ ŝ, and how good it is

The mean power of s is 1 per complex symbol, so that noise of variance 1/SNR gives the signal-to-noise ratio.

What a picture becomes on the air, and the blob of the kind `SIGNAL`, which has it on the ordinary link.

Layout of a blob: the header; the number of each position's length in `LENGTHS`, one byte each, row by row; the hyper
latents, two bytes each, by channel and row; the clean symbols, real and imaginary part as float16 each.  All numbers
are big-endian.  The receiver sends the symbols over the simulated channel.

The header has the version, 1 B; the channel, 1 B: 0 AWGN, 1 Rayleigh; its SNR in dB, 8 B; sequence number of the frame,
8 B, and its time of capture in seconds since the epoch, 8 B; left, top (signed) and side of the window in pixels of the
frame, 4 B each; height and width of the picture, 2 B each; channel uses of the side information, 4 B; channels of the
hyper latents, 1 B; number of symbols, 4 B.

Lengths follow from the side information.  They are in the blob all the same, because ends with different processors may
round differently where one is between two values.
"""

import math
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import exp1
from torch import Tensor

from common.channel.state import BLOCK, KINDS, LENGTHS, MAX_SIDE_PX, MAX_SNR_DB, MIN_SNR_DB, ChannelState
from common.errors import MalformedPacket
from common.imaging.grid import hyper_grid, latent_grid
from common.wire.frame_messages import require, require_sequence


class Received(NamedTuple):
    """What the receiver has of symbols.

    Args:
        symbols: estimates that minimise the mean squared error, complex.
        snr: effective signal-to-noise ratio of each symbol, linear; 0 where nothing arrived.
    """

    symbols: Tensor
    snr: Tensor


def from_db(decibels: Tensor | float) -> Tensor:
    """Power ratio of a level in dB."""
    return torch.as_tensor(10.0) ** (torch.as_tensor(decibels) / 10.0)


def complex_normal(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Circularly symmetric complex Gaussian values of variance 1."""
    return torch.view_as_complex(torch.randn((*shape, 2), generator=generator)) / 2**0.5


def rayleigh_gains(count: int, block: int, generator: torch.Generator) -> Tensor:
    """(count,) complex gains of mean power 1, constant over blocks of `block` symbols (block fading)."""
    blocks = complex_normal((-(-count // block),), generator)
    return blocks.repeat_interleave(block)[:count]


def transmitted(symbols: Tensor, gains: Tensor, snr: Tensor, generator: torch.Generator) -> Tensor:
    """r = h s + n with noise of variance 1/SNR; all of the same shape or broadcast."""
    return gains * symbols + complex_normal(symbols.shape, generator).to(symbols.device) / snr.sqrt()


def equalised(received: Tensor, gains: Tensor, snr: Tensor) -> Received:
    """Linear estimate of least mean squared error, ŝ = h* r / (|h|² + 1/SNR).

    Args:
        received: complex.
        gains: as the receiver knows them; zero where nothing arrived.
        snr: linear, at gain 1.
    """
    power = gains.abs().square()
    return Received(gains.conj() * received / (power + 1 / snr), power * snr)


def carry(channel: ChannelState, symbols: Tensor, generator: torch.Generator) -> Received:
    """What arrives of symbols (n,) of mean power 1, after equalisation."""
    snr, count = from_db(channel.snr_db), len(symbols)
    fades = channel.kind == "rayleigh"
    gains = rayleigh_gains(count, BLOCK, generator) if fades else torch.ones(count, dtype=torch.complex64)
    return equalised(transmitted(symbols, gains, snr, generator), gains, snr)


def capacity_bits(channel: ChannelState) -> float:
    """Ergodic capacity in bits per complex symbol.

    Rayleigh: e^(1/SNR) E₁(1/SNR) / ln 2 (Goldsmith 2005, eq. 4.4 for its distribution).
    """
    snr = 10 ** (channel.snr_db / 10)
    if channel.kind == "rayleigh":
        return math.exp(1 / snr) * float(exp1(1 / snr)) / math.log(2) if snr > 2e-3 else snr / math.log(2)
    return math.log2(1 + snr)


VERSION = 2
_HEADER = struct.Struct(">BBdqdiiIHHIBI")
_MAX_USES = 2**24
# Rounding to float16 changes the power of the symbols a little.
_MAX_POWER = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A picture on the air.

    Args:
        symbols: (n,) complex64 of mean power 1, in the order of `common.channel.image_codec.gathered`.
        lengths: (1, height / 16, width / 16) symbols of each position.
        hyper_latents: (1, channels, h, w) whole numbers, sent digitally.
        size: height and width of the picture, pixels.
        side_uses: channel uses of the hyper latents and of the importance, at capacity.
    """

    symbols: Tensor
    lengths: Tensor
    hyper_latents: Tensor
    size: tuple[int, int]
    side_uses: int

    @property
    def uses(self) -> int:
        """Channel uses of everything."""
        return len(self.symbols) + self.side_uses

    @property
    def bandwidth_ratio(self) -> float:
        """Channel uses per colour value of a pixel."""
        return self.uses / (3 * self.size[0] * self.size[1])


@dataclass(frozen=True, slots=True, eq=False)
class SignalBlob:
    """One picture of a session.

    Args:
        sequence: of its frame.
        captured_at: seconds since the epoch, on the sender's clock.
        window: left, top and side of the square of the frame that it shows, pixels; may lie outside of the frame.
    """

    sequence: int
    captured_at: float
    window: tuple[int, int, int]
    channel: ChannelState
    signal: Signal

    def encode(self) -> bytes:
        """The content of the blob."""
        signal = self.signal
        header = _HEADER.pack(
            VERSION,
            KINDS.index(self.channel.kind),
            self.channel.snr_db,
            self.sequence,
            self.captured_at,
            *self.window,
            *signal.size,
            signal.side_uses,
            signal.hyper_latents.shape[1],
            len(signal.symbols),
        )
        numbers = torch.searchsorted(torch.tensor(LENGTHS), signal.lengths.flatten()).to(torch.uint8)
        hyper = signal.hyper_latents.numpy().astype(">i2")
        symbols = torch.view_as_real(signal.symbols).numpy().astype(">f2")
        return header + numbers.numpy().tobytes() + hyper.tobytes() + symbols.tobytes()

    @classmethod
    def decode(cls, data: bytes) -> "SignalBlob":
        """The picture that `encode` wrote.

        Raises:
            MalformedPacket: the blob is none of a picture, or its symbols have more power than the channel permits.
        """
        if len(data) < _HEADER.size or data[0] != VERSION:
            raise MalformedPacket(f"no picture of a simulated channel of version {VERSION}")
        _, kind, snr_db, sequence, captured_at, *rest = _HEADER.unpack_from(data)
        left, top, side, height, width, side_uses, channels, count = rest
        require(kind < len(KINDS) and MIN_SNR_DB <= snr_db <= MAX_SNR_DB, "the channel of a picture is a known one")
        require_sequence(sequence)
        require(math.isfinite(captured_at), "a picture has a time")
        require(side_uses <= _MAX_USES, f"side information takes at most {_MAX_USES} channel uses")
        signal = _signal(data, (height, width), channels, count, side_uses)
        return cls(sequence, captured_at, (left, top, side), ChannelState(snr_db, KINDS[kind]), signal)


def _signal(data: bytes, size: tuple[int, int], channels: int, count: int, side_uses: int) -> Signal:
    """What follows the header: lengths, hyper latents of so many channels, and so many symbols."""
    require(all(1 <= side <= MAX_SIDE_PX for side in size), f"a picture has 1 to {MAX_SIDE_PX} pixels a side")
    grid, hyper_shape = latent_grid(size), (1, channels, *hyper_grid(size))
    hyper_at = _HEADER.size + math.prod(grid)
    symbols_at = hyper_at + 2 * math.prod(hyper_shape)
    require(len(data) == symbols_at + 4 * count, "a picture has as many bytes as its header says")
    numbers = np.frombuffer(data, np.uint8, math.prod(grid), _HEADER.size)
    require(numbers.max() < len(LENGTHS), "a position has a length that exists")
    lengths = torch.tensor(LENGTHS)[torch.from_numpy(numbers.astype(np.int64))].reshape(1, *grid)
    require(int(lengths.sum()) == count, "the symbols of a picture fit its lengths")
    hyper = np.frombuffer(data, ">i2", math.prod(hyper_shape), hyper_at).astype(np.float32)
    parts = np.frombuffer(data, ">f2", 2 * count, symbols_at).astype(np.float32)
    symbols = torch.view_as_complex(torch.from_numpy(parts.reshape(-1, 2)))
    require(float(symbols.abs().square().mean()) <= _MAX_POWER, "symbols have the power that the channel permits")
    return Signal(symbols, lengths, torch.from_numpy(hyper).reshape(hyper_shape), size, side_uses)
