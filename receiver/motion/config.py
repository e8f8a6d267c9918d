"""Options of the motion of people."""

from dataclasses import dataclass
from typing import Literal

from common.io.options import option


@dataclass(frozen=True, slots=True)
class GeneratedMotionConfig:
    """How limbs that nobody sees are generated."""

    motion: Literal["learned", "paper"] = option(
        "learned", help="diffusion of limbs that nobody sees: by a learned denoiser, or by the paper's eq. 26 and 27"
    )
