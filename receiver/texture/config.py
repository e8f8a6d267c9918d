"""Options of textures."""

from dataclasses import dataclass
from typing import Literal

from common.io.options import option


@dataclass(frozen=True, slots=True)
class TextureConfig:
    """The receiver's textures of people."""

    texture_completion: Literal["learned", "smooth"] = option(
        "learned", help="colours that no camera has seen: by a network, or from the surroundings"
    )
