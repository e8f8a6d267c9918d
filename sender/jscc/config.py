"""Options of an analogue session: `--channel` and `--channel-rate`."""

from dataclasses import dataclass
from fractions import Fraction

from common.channel.state import LENGTHS, ChannelState, bandwidth_ratio
from common.imaging.grid import STRIDE
from common.io.command_line import option

# The ratio of pictures whose positions all have the smallest length.
_LEAST_RATE = Fraction(LENGTHS[0], 3 * STRIDE**2)


@dataclass(frozen=True, slots=True)
class JsccConfig:
    """Pictures of the largest person over a simulated noisy channel, for studies."""

    channel: str | None = option(
        None, help="send pictures over a simulated channel: awgn:10dB or rayleigh:10dB", advanced=True
    )
    channel_rate: str = option(
        "1/16", help="bandwidth ratio: most channel uses per colour value of a pixel", advanced=True
    )

    def __post_init__(self) -> None:
        if self.channel is not None:
            ChannelState.from_text(self.channel)
        if self.rate <= _LEAST_RATE:
            raise ValueError(f"channel-rate {self.channel_rate} is too low: use more than {_LEAST_RATE}")

    @property
    def rate(self) -> Fraction:
        """The bandwidth ratio; raises ValueError."""
        return bandwidth_ratio(self.channel_rate)

    @property
    def state(self) -> ChannelState | None:
        """The simulated channel; None without one."""
        return None if self.channel is None else ChannelState.from_text(self.channel)
