"""What rivals send: a way has settings, the best first, each with its coder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

from common.channel.channel import capacity_bits
from tests.bench.rivals.coders import VIDEOS, Coder, Still, Video, VideoCodec
from tests.bench.scenarios.coders import AIR, SYMBOL_BYTES, Draco, Symbols

CROP_PX = 256
"""Side of the crops that are sent."""


@dataclass(frozen=True)
class Way:
    """A way to send a person.

    Args:
        settings: name → coder, the best first; the first is that of scenario A.
        sends: pictures as they are, crops of them, or the meshes of bodies.
        link_share: of a message's bytes that the link is charged with.
    """

    settings: Mapping[str, Callable[[], Coder]]
    sends: str = "crops"
    link_share: float = 1.0


def _stills(form: str, best: int) -> Way:
    settings = ((CROP_PX, best), (CROP_PX, 50), (CROP_PX, 25), (CROP_PX, 10), (128, 50), (128, 20), (96, 5))
    return Way({f"{side} px, quality {quality}": partial(Still, form, side, quality) for side, quality in settings})


def _video(codec: VideoCodec) -> Way:
    pairs = [(scale, crf) for scale, factors in codec.factors.items() for crf in factors]
    return Way({f"1/{scale}, CRF {crf}": partial(Video, codec, scale, crf) for scale, crf in pairs}, "pictures")


CROPS: Final[Mapping[str, Way]] = {
    "WebP crops": _stills("WEBP", 75),
    "AVIF crops": _stills("AVIF", 65),
    "DeepJSCC crops": Way(
        {f"1/{rate}": partial(Symbols, Fraction(1, rate)) for rate in (16, 24, 48, 96)},
        link_share=capacity_bits(AIR) / (8 * SYMBOL_BYTES),
    ),
}
MESHES: Final = "without semantic communication"
WAYS: Final[Mapping[str, Way]] = {
    MESHES: Way({f"{bits} bits": partial(Draco, bits) for bits in (11, 9, 8)}, "meshes"),
    **CROPS,
    **{name: _video(codec) for name, codec in VIDEOS.items()},
}
