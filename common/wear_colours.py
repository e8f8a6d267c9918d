"""The colours of garments that nobody has seen: those of what is usually worn with the rest."""

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX

# Mean colours, sRGB 0…1, of 659 and 444 people of the training photographs `people`: of tops by the brightness of the
# thighs, of trousers by that of the chest.
_TOPS = (
    (0.13, 0.27, 0.42, 0.57, 0.74),
    ((0.26, 0.24, 0.26), (0.40, 0.37, 0.37), (0.44, 0.38, 0.39), (0.47, 0.44, 0.46), (0.56, 0.55, 0.60)),
)
_TROUSERS = (
    (0.10, 0.28, 0.43, 0.58, 0.75),
    ((0.20, 0.19, 0.20), (0.27, 0.27, 0.28), (0.30, 0.28, 0.30), (0.33, 0.32, 0.32), (0.46, 0.46, 0.48)),
)
_BY = {"top": ("thigh.L", _TOPS), "bottom": ("chest", _TROUSERS)}
# Of 324 people, whatever else they wear.
_SHOES = (0.36, 0.34, 0.34)


def usual_colour(garment: str, region_colours: FloatArray) -> FloatArray:
    """(3,) of a `top`, a `bottom` or `shoes` that somebody wears with colours (R, 3) of the body regions, 0…1."""
    if garment == "shoes":
        return np.array(_SHOES, np.float32)
    region, (brightness, colours) = _BY[garment]
    seen = region_colours[REGION_INDEX[region]].mean()
    return np.array([np.interp(seen, brightness, each) for each in zip(*colours, strict=True)], np.float32)
