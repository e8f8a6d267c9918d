"""Simulated wireless channels: pure functions of complex symbols, seeded by a generator.

    s ─ × gain h ─ + noise n ─ received r ─ equalise ─ ŝ, and how good it is

The mean power of s is 1 per complex symbol, so that noise of variance 1/SNR gives the signal-to-noise ratio.

In a session the receiver applies noise and fading, exactly once, behind a preamble of known symbols from which it
measures the SNR.  They depend on the seed of the session and the number of the frame alone, so that they are equal in
every run, whatever pictures were dropped before.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import exp1
from torch import Tensor

from common.channel.signal import Signal
from common.channel.state import PREAMBLE_USES, ChannelState


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


def estimated_gains(gains: Tensor, block: int, snr: Tensor, pilots: int, generator: torch.Generator) -> Tensor:
    """Gains of block fading as estimated from `pilots` known symbols in each block (least squares)."""
    firsts = gains[::block]
    errors = complex_normal(firsts.shape, generator) / (snr * pilots).sqrt()
    return (firsts + errors).repeat_interleave(block)[: len(gains)]


def arrived_packets(count: int, packet: int, loss: float, generator: torch.Generator) -> Tensor:
    """(count,) 1 where a symbol arrives, else 0; packets of `packet` symbols are lost with probability `loss`."""
    kept = torch.rand(-(-count // packet), generator=generator) >= loss
    return kept.float().repeat_interleave(packet)[:count]


def carry(channel: ChannelState, symbols: Tensor, generator: torch.Generator) -> Received:
    """What arrives of symbols (n,) of mean power 1, after equalisation."""
    snr, count = from_db(channel.snr_db), len(symbols)
    gains = torch.ones(count, dtype=torch.complex64)
    if channel.kind == "rayleigh":
        gains = rayleigh_gains(count, channel.block, generator)
    elif channel.kind == "erasure":
        gains = gains * arrived_packets(count, channel.block, channel.loss, generator)
    received = transmitted(symbols, gains, snr, generator)
    if channel.kind == "rayleigh" and channel.pilots:
        gains = estimated_gains(gains, channel.block, snr, channel.pilots, generator)
    return equalised(received, gains, snr)


def capacity_bits(channel: ChannelState) -> float:
    """Ergodic capacity in bits per complex symbol, without the cost of pilots.

    Rayleigh: e^(1/SNR) E₁(1/SNR) / ln 2 (Goldsmith 2005, eq. 4.4 for its distribution).
    """
    snr = 10 ** (channel.snr_db / 10)
    if channel.kind == "rayleigh":
        return math.exp(1 / snr) * float(exp1(1 / snr)) / math.log(2) if snr > 2e-3 else snr / math.log(2)
    awgn = math.log2(1 + snr)
    return awgn * (1 - channel.loss) if channel.kind == "erasure" else awgn


class ReceivedPicture(NamedTuple):
    """What arrived of a picture.

    Args:
        measured_snr_db: as of `measured_snr_db`.
    """

    received: Received
    measured_snr_db: float | None


def carry_picture(channel: ChannelState, symbols: Tensor, seed: int, sequence: int) -> ReceivedPicture:
    """Sends preamble and symbols over the channel (`symbols`: (n,) complex, of mean power 1)."""
    generator = picture_generator(seed, sequence)
    measured = _measured_snr_db(channel, generator)
    return ReceivedPicture(carry(channel, symbols, generator), measured)


def measured_snr_db(channel: ChannelState, seed: int, sequence: int) -> float | None:
    """Mean SNR of a picture's channel, from the noise on the preamble; None if that has none."""
    return _measured_snr_db(channel, picture_generator(seed, sequence))


def picture_generator(seed: int, sequence: int) -> torch.Generator:
    """The generator of one picture's noise."""
    state = np.random.SeedSequence([seed, sequence]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def preamble() -> Tensor:
    """(PREAMBLE_USES,) known QPSK symbols of power 1."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 2, (PREAMBLE_USES, 2), generator=generator).float()
    return torch.view_as_complex((2 * bits - 1) / 2**0.5)


def channel_uses(channel: ChannelState, signal: Signal) -> int:
    """Everything that a picture occupies: preamble, symbols, pilots between them, and hyper latents at capacity."""
    return PREAMBLE_USES + round(len(signal.symbols) / channel.data_share) + signal.side_uses


def bandwidth_ratio(channel: ChannelState, signal: Signal) -> float:
    """Channel uses per colour value of a pixel."""
    return channel_uses(channel, signal) / (3 * signal.size[0] * signal.size[1])


def _measured_snr_db(channel: ChannelState, generator: torch.Generator) -> float | None:
    """From the residual of the least-squares estimate of the gain, which has one degree of freedom less."""
    known, snr = preamble(), from_db(channel.snr_db)
    gains = torch.ones(PREAMBLE_USES, dtype=torch.complex64)
    if channel.kind == "rayleigh":
        gains = rayleigh_gains(PREAMBLE_USES, PREAMBLE_USES, generator)
    received = transmitted(known, gains, snr, generator)
    gain = (known.conj() * received).mean()
    noise = float((received - gain * known).abs().square().sum() / (PREAMBLE_USES - 1))
    return float(-10 * np.log10(noise)) if noise > 0 else None
