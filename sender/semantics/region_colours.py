"""The `appearance` labels: the colour of each body region, averaged over frames.

A frame shows one side of a person.  Each region keeps a running mean weighted by its visible area, which gets more
accurate the longer the person is seen.  A region that was never visible takes the colour of its mirror image, or of a
neighbour that usually has the same colour; a garment of which nothing is seen has what is worn with the others.
"""

from dataclasses import dataclass, field

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, REGIONS, mirror_name
from common.wears import usual_colour
from sender.perception.views import USUAL_STEP_S

# Regions whose colour an unseen region takes after its mirror image, most likely first.
_SUBSTITUTES: dict[str, tuple[str, ...]] = {
    "scalp": ("face",),
    "face": ("hand.L", "hand.R"),
    "chest": ("upper_arm.L", "upper_arm.R"),
    "hips": ("thigh.L", "thigh.R"),
    "upper_arm": ("chest",),
    "forearm": ("upper_arm.L", "upper_arm.R", "chest"),
    "hand": ("face",),
    "thigh": ("shin.L", "shin.R"),
    "shin": ("thigh.L", "thigh.R"),
    "foot": (),
}
# Of other unseen regions the garment that covers them.
_GARMENTS = {
    **dict.fromkeys(("chest", "upper_arm", "forearm"), "top"),
    **dict.fromkeys(("hips", "thigh", "shin"), "bottom"),
    "foot": "shoes",
}
# Square root of the share of the crop from which a region is visible.
_MIN_AREA = 0.02
# Earlier frames weigh at most as much as the present one would in so many seconds, because light and clothing change.
_MEMORY_S = 2.0


def _stem(region: str) -> str:
    return region.removesuffix(".L").removesuffix(".R")


# Of each region those whose colour it takes if it was not seen, most likely first, and the garment that covers it.
_CANDIDATES = [
    [REGION_INDEX[name] for name in (mirror_name(region), *_SUBSTITUTES[_stem(region)])] for region in REGIONS
]
_GARMENT = [_GARMENTS.get(_stem(region)) for region in REGIONS]


@dataclass(slots=True)
class RegionColours:
    """One person's colours.

    Args:
        colours: (R, 3) running means, 0…1.
        weights: (R,) sums of visible areas, shares of the crop, times seconds, with an upper limit.
    """

    colours: FloatArray = field(default_factory=lambda: np.full((len(REGIONS), 3), 0.5, np.float32))
    weights: FloatArray = field(default_factory=lambda: np.zeros(len(REGIONS), np.float32))

    def update(self, colours: FloatArray, areas: FloatArray, step_s: float = USUAL_STEP_S) -> FloatArray:
        """Adds one frame and returns the colours (R, 3), completed for unseen regions.

        Args:
            colours: (R, 3) mean visible colour of each region in this frame.
            areas: (R,) square root of the share of the crop that it covers.
            step_s: since the last frame.
        """
        area = np.where(areas > _MIN_AREA, areas * areas, np.float32(0))
        weight = area * np.float32(min(step_s, _MEMORY_S))
        total = self.weights + weight
        share = weight / np.maximum(total, np.float32(1e-12))
        self.colours = self.colours + share[:, None] * (colours - self.colours)
        limit = _MEMORY_S * area.max()
        self.weights = np.minimum(total, limit) if limit > 0 else total
        return self._completed()

    def _completed(self) -> FloatArray:
        completed, seen = self.colours.copy(), (self.weights > 0).tolist()
        unknown = []
        for index in (index for index, known in enumerate(seen) if not known):
            substitute = next((other for other in _CANDIDATES[index] if seen[other]), None)
            if substitute is None:
                unknown.append(index)
            else:
                completed[index] = self.colours[substitute]
        for index in unknown:
            garment = _GARMENT[index]
            if garment is not None:
                completed[index] = usual_colour(garment, completed)
        return completed
