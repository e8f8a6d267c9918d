"""The state of a simulated channel, and the limits of what is sent over it: plain numbers, which load no library."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["awgn", "rayleigh", "erasure"]
KINDS: tuple[Kind, ...] = ("awgn", "rayleigh", "erasure")
SESSION_KINDS: tuple[Kind, ...] = ("awgn", "rayleigh")
"""The channels of sessions."""
MAX_PILOTS = 64
"""Pilots of a fading block in a session."""
MAX_SIDE_PX = 512
"""Pixels of the longer side of a session's pictures."""
PREAMBLE_USES = 64
"""Known symbols before each picture of a session. They are one fading block."""
LENGTHS = (4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)
"""Complex symbols that a latent position may have."""
MAX_LENGTH = LENGTHS[-1]
MIN_SNR_DB, MAX_SNR_DB = -30.0, 60.0
MAX_QUALITY_DB = 60.0
"""Highest PSNR that may be wanted."""


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
        if not MIN_SNR_DB <= self.snr_db <= MAX_SNR_DB:
            raise ValueError(f"the SNR has to be between {MIN_SNR_DB:g} and {MAX_SNR_DB:g} dB")
        if self.block < 1 or self.pilots < 0:
            raise ValueError("a block has 1 or more symbols, and 0 or more pilots")
        if not 0 <= self.loss < 1:
            raise ValueError("the loss has to be at least 0 and below 1")

    @property
    def data_share(self) -> float:
        """Share of the channel uses that carry data; pilots take the rest."""
        return self.block / (self.block + self.pilots) if self.kind == "rayleigh" else 1.0
