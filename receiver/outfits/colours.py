"""The colours of what nobody has seen of a person."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.arrays import Float64Array
from receiver.outfits.dressing import PARTS

_USUAL: Final[Mapping[str, tuple[int, int, int]]] = {
    "skin": (196, 154, 132),
    "hair": (72, 54, 42),
    "top": (150, 152, 156),
    "bottom": (78, 84, 98),
    "shoes": (58, 56, 56),
}
assert tuple(_USUAL) == PARTS


def usual_colour(part: str) -> Float64Array:
    """(3,) sRGB 0…255 of a part of which nothing tells the colour."""
    return np.array(_USUAL[part], np.float64)
