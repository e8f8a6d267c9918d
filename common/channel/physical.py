"""Simulated wireless channels: pure functions of complex symbols, seeded by a generator.

    s ─ × gain h ─ + noise n ─ received r ─ equalise ─ ŝ, and how good it is

The mean power of s is 1 per complex symbol, so that noise of variance 1/SNR gives the signal-to-noise ratio.
"""

import math
from typing import NamedTuple

import torch
from scipy.special import exp1
from torch import Tensor

from common.channel.state import ChannelState


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
