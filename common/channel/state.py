"""The state of a simulated channel: which one, and what it makes of a transmission."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.special import exp1
from torch import Tensor

from common.channel.physical import (
    Received,
    arrived_packets,
    equalised,
    estimated_gains,
    from_db,
    rayleigh_gains,
    transmitted,
)

Kind = Literal["awgn", "rayleigh", "erasure"]
KINDS: tuple[Kind, ...] = ("awgn", "rayleigh", "erasure")


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel with additive white Gaussian noise, and maybe fading or losses.

    Args:
        snr_db: mean signal-to-noise ratio.
        kind: `awgn`; `rayleigh`, block fading; `erasure`, losses of whole packets.
        block: symbols of a fading block, or of a packet.
        pilots: known symbols in each fading block, to estimate its gain from; 0 means that the receiver knows it.
        loss: share of packets that are lost.
    """

    snr_db: float
    kind: Kind = "awgn"
    block: int = 64
    pilots: int = 0
    loss: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown channel {self.kind!r}; choose {', '.join(KINDS)}")
        if not -30 <= self.snr_db <= 60:
            raise ValueError("the SNR has to be between -30 and 60 dB")
        if self.block < 1 or self.pilots < 0:
            raise ValueError("a block has 1 or more symbols, and 0 or more pilots")
        if not 0 <= self.loss < 1:
            raise ValueError("the loss has to be at least 0 and below 1")

    @property
    def data_share(self) -> float:
        """Share of the channel uses that carry data; pilots take the rest."""
        return self.block / (self.block + self.pilots) if self.kind == "rayleigh" else 1.0

    def capacity_bits(self) -> float:
        """Ergodic capacity in bits per complex symbol, without the cost of pilots.

        Rayleigh: e^(1/SNR) E₁(1/SNR) / ln 2 (Goldsmith 2005, eq. 4.4 for its distribution).
        """
        snr = 10 ** (self.snr_db / 10)
        if self.kind == "rayleigh":
            return math.exp(1 / snr) * float(exp1(1 / snr)) / math.log(2) if snr > 2e-3 else snr / math.log(2)
        awgn = math.log2(1 + snr)
        return awgn * (1 - self.loss) if self.kind == "erasure" else awgn

    def carry(self, symbols: Tensor, generator: torch.Generator) -> Received:
        """What arrives of symbols (n,) of mean power 1, after equalisation."""
        snr, count = from_db(self.snr_db), len(symbols)
        gains = torch.ones(count, dtype=torch.complex64)
        if self.kind == "rayleigh":
            gains = rayleigh_gains(count, self.block, generator)
        elif self.kind == "erasure":
            gains = gains * arrived_packets(count, self.block, self.loss, generator)
        received = transmitted(symbols, gains, snr, generator)
        if self.kind == "rayleigh" and self.pilots:
            gains = estimated_gains(gains, self.block, snr, self.pilots, generator)
        return equalised(received, gains, snr)
