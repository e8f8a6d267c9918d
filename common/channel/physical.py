"""Simulated wireless channels: pure functions of complex symbols, seeded by a generator.

    s ─ × gain h ─ + noise n ─ received r ─ equalise ─ ŝ, and how good it is

The mean power of s is 1 per complex symbol, so that noise of variance 1/SNR gives the signal-to-noise ratio.
"""

import math
from typing import NamedTuple

import torch
from scipy.special import exp1
from torch import Tensor

from common.channel.state import BLOCK, ChannelState


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
