"""Options of an analogue session: `--channel` and what belongs to it."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from common.channel.fading import SlowFading
from common.channel.state import (
    LENGTHS,
    MAX_PILOTS,
    MAX_QUALITY_DB,
    MAX_SIDE_PX,
    PREAMBLE_USES,
    ChannelState,
    Kind,
)
from common.imaging.grid import STRIDE
from common.io.options import option

View = Literal["person", "frame"]
_MIN_SIDE_PX = 64
_MAX_FPS = 60.0
_FADING = "fading"
# While a picture lasts, a channel that fades slowly has Gaussian noise alone.
_KINDS: dict[str, Kind] = {"awgn": "awgn", "rayleigh": "rayleigh", _FADING: "awgn"}
_TEXT = re.compile(r"(?P<kind>[a-z]+):(?P<snr>[+-]?\d+(\.\d+)?)(db)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JsccConfig:
    """Pictures over a simulated noisy channel, for studies."""

    channel: str | None = option(
        None, help="send pictures over a simulated channel: awgn:10dB, rayleigh:10dB, or fading:7dB, which fades slowly"
    )
    channel_rate: str = option("1/16", help="bandwidth ratio: most channel uses per colour value of a pixel")
    channel_quality: float | None = option(
        None,
        help="PSNR to reach, dB, with as few channel uses as it takes at the SNR that the receiver measures; "
        "--channel-rate is then the most",
    )
    channel_pilots: int = option(0, help="pilots per fading block of 64 symbols; 0: the receiver knows the gains")
    channel_view: View = option("person", help="send the largest person, or the whole frame")
    channel_side: int = option(256, help="longer side of the pictures, pixels, a multiple of 16")
    channel_fps: float = option(5.0, help="most pictures per second of the source")
    channel_seed: int = option(0, help="seed of noise and fading")
    channel_report: Path | None = option(None, help="write a JSON line per picture, with its simulated PSNR")

    def __post_init__(self) -> None:
        rate = self.rate
        if self.channel is not None:
            parse_channel(self.channel)
        if self.channel_quality is not None and not 0 < self.channel_quality <= MAX_QUALITY_DB:
            raise ValueError(
                f"channel-quality must be above 0 and at most {MAX_QUALITY_DB:g} dB, got {self.channel_quality:g}"
            )
        if not 0 <= self.channel_pilots <= MAX_PILOTS:
            raise ValueError(f"channel-pilots must lie in 0…{MAX_PILOTS}, got {self.channel_pilots}")
        if self.channel_side % STRIDE or not _MIN_SIDE_PX <= self.channel_side <= MAX_SIDE_PX:
            raise ValueError(
                f"channel-side must be a multiple of {STRIDE} from {_MIN_SIDE_PX} to {MAX_SIDE_PX}, "
                f"got {self.channel_side}"
            )
        if not 0 < self.channel_fps <= _MAX_FPS:
            raise ValueError(f"channel-fps must be above 0 and at most {_MAX_FPS:g}, got {self.channel_fps:g}")
        if not 0 <= self.channel_seed < 2**63:
            raise ValueError(f"channel-seed must lie in 0…2^63 − 1, got {self.channel_seed}")
        least = Fraction(LENGTHS[0], 3 * STRIDE**2) + Fraction(PREAMBLE_USES, 3 * self.channel_side**2)
        if rate <= least:
            raise ValueError(f"channel-rate {self.channel_rate} is too low: use more than 1/{int(1 / least)}")

    @property
    def rate(self) -> Fraction:
        """The bandwidth ratio; raises ValueError."""
        try:
            rate = Fraction(self.channel_rate)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 0 < rate <= 1:
            raise ValueError(f"channel-rate {self.channel_rate!r} is no bandwidth ratio; give one such as 1/16")
        return rate

    @property
    def state(self) -> ChannelState | None:
        """The simulated channel, with its mean SNR; None without one."""
        return None if self.channel is None else parse_channel(self.channel, self.channel_pilots)

    @property
    def fading(self) -> SlowFading | None:
        """How the SNR changes from picture to picture; None if it stays."""
        if self.channel is None or not self.channel.lower().startswith(_FADING):
            return None
        return SlowFading(parse_channel(self.channel).snr_db, self.channel_seed)


def parse_channel(text: str, pilots: int = 0) -> ChannelState:
    """The channel of a text such as `awgn:10dB`; one that fades has its mean SNR.

    Raises:
        ValueError: the text names none, or its SNR is out of range.
    """
    found = _TEXT.fullmatch(text)
    kind = _KINDS.get(found["kind"].lower()) if found else None
    if found is None or kind is None:
        raise ValueError(f"channel {text!r} is none; give awgn, rayleigh or fading with an SNR, such as awgn:10dB")
    return ChannelState(float(found["snr"]), kind, pilots=pilots)
