"""Options of the motion of people, and of its playout."""

from dataclasses import dataclass
from typing import Literal

from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class GeneratedMotionConfig:
    """How limbs that nobody sees are generated."""

    motion: Literal["learned", "paper"] = option(
        "learned",
        help="diffusion of limbs that nobody sees: by a learned denoiser, or by the paper's eq. 26 and 27",
        advanced=True,
    )


@dataclass(frozen=True, slots=True)
class PlayoutConfig:
    """When the people of live sessions are shown."""

    playout: Literal["live", "smooth", "off"] = option(
        "live",
        help="how page and VMC show live people: live = predicted to the present, smooth = between the labels that "
        "have arrived, later, off = as the frames come",
        advanced=True,
    )
