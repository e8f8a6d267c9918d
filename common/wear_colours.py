"""The colours of garments that nobody has seen: those of what is usually worn with the rest."""

import numpy as np

from common.arrays import FloatArray

# Mean colours, sRGB 0…1, of trousers by the brightness of the chest, and of shoes: of 444 and 324 people of the
# training photographs `people`, judged to wear them.
_CHEST_BRIGHTNESS = (0.10, 0.28, 0.43, 0.58, 0.75)
_TROUSERS = ((0.20, 0.19, 0.20), (0.27, 0.27, 0.28), (0.30, 0.28, 0.30), (0.33, 0.32, 0.32), (0.46, 0.46, 0.48))
_SHOES = (0.36, 0.34, 0.34)


def usual_colour(attribute: str, chest: FloatArray) -> FloatArray:
    """(3,) of trousers, for the attribute `bottom`, or of `shoes`, worn with a top whose colour is `chest` (3,)."""
    if attribute == "shoes":
        return np.array(_SHOES, np.float32)
    channels = zip(*_TROUSERS, strict=True)
    return np.array([np.interp(chest.mean(), _CHEST_BRIGHTNESS, each) for each in channels], np.float32)
