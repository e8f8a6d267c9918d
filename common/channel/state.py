"""The state of a simulated channel, and the limits of what is sent over it: plain numbers, which load no library."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self

Kind = Literal["awgn", "rayleigh"]
KINDS: tuple[Kind, ...] = ("awgn", "rayleigh")
BLOCK = 64
"""Symbols of a fading block."""
MAX_SIDE_PX = 256
"""Pixels of the longer side of a session's pictures."""
LENGTHS = (4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)
"""Complex symbols that a latent position may have."""
MAX_LENGTH = LENGTHS[-1]
MIN_SNR_DB, MAX_SNR_DB = -30.0, 60.0
_TEXT = re.compile(r"(?P<kind>[a-z]+):(?P<snr>[+-]?\d+(\.\d+)?)(db)?")


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel with additive white Gaussian noise, and maybe fading.

    Args:
        snr_db: mean signal-to-noise ratio.
        kind: `awgn`; `rayleigh`, block fading with gains that the receiver knows.

    Raises:
        ValueError: the channel is unknown, or the SNR is out of range.
    """

    snr_db: float
    kind: Kind = "awgn"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown channel {self.kind!r}; choose {' or '.join(KINDS)}")
        if not MIN_SNR_DB <= self.snr_db <= MAX_SNR_DB:
            raise ValueError(f"the SNR has to be between {MIN_SNR_DB:g} and {MAX_SNR_DB:g} dB")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The channel of a text such as `awgn:10dB`. Raises ValueError if it names none."""
        found = _TEXT.fullmatch(text.lower())
        kinds = [kind for kind in KINDS if found and kind == found["kind"]]
        if found is None or not kinds:
            raise ValueError(f"channel {text!r} is none; give {' or '.join(KINDS)} with an SNR, such as awgn:10dB")
        return cls(float(found["snr"]), kinds[0])

    def __str__(self) -> str:
        return f"{self.kind}:{self.snr_db:g}dB"


def bandwidth_ratio(text: str) -> Fraction:
    """Channel uses per colour value of a pixel, of a text such as `1/16`. Raises ValueError if it is none."""
    try:
        ratio = Fraction(text)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if not 0 < ratio <= 1:
        raise ValueError(f"{text!r} is no bandwidth ratio; give one such as 1/16")
    return ratio
