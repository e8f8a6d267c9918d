"""The `appearance` labels: the colour of each body region, averaged over frames.

A frame shows one side of a person.  Each region keeps a running mean weighted by its visible area, which gets more
accurate the longer the person is seen.  A region that was never visible takes the colour of its mirror image, or of a
neighbour that usually has the same colour; a garment of which nothing is seen has what is worn with the others.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.body.anatomy import REGION_INDEX, REGIONS, mirror_name
from common.wear_colours import usual_colour

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
# Earlier frames weigh at most as much as this many of the present one, because light and clothing change.
_MAX_MEMORY_FRAMES = 60.0


@dataclass(slots=True)
class RegionColours:
    """One person's colours.

    Args:
        colours: (R, 3) running means, 0…1.
        weights: (R,) sums of visible areas, shares of the crop, with an upper limit.
    """

    colours: Tensor = field(default_factory=lambda: torch.full((len(REGIONS), 3), 0.5))
    weights: Tensor = field(default_factory=lambda: torch.zeros(len(REGIONS)))

    def update(self, colours: Tensor, areas: Tensor) -> Tensor:
        """Adds one frame and returns the colours (R, 3), completed for unseen regions.

        Args:
            colours: (R, 3) mean visible colour of each region in this frame.
            areas: (R,) square root of the share of the crop that it covers.
        """
        weight = torch.where(areas > _MIN_AREA, areas.square(), torch.zeros_like(areas))
        total = self.weights + weight
        share = torch.where(total > 0, weight / total.clamp_min(1e-12), torch.zeros_like(weight))
        self.colours = self.colours + share[:, None] * (colours - self.colours)
        limit = float(_MAX_MEMORY_FRAMES * weight.max()) if weight.max() > 0 else float("inf")
        self.weights = total.clamp_max(limit)
        return self._completed()

    def _completed(self) -> Tensor:
        completed = self.colours.clone()
        unseen = {index: self._substitute(REGIONS[index]) for index in (self.weights == 0).nonzero()[:, 0].tolist()}
        for index, substitute in unseen.items():
            if substitute is not None:
                completed[index] = self.colours[substitute]
        for index, substitute in unseen.items():
            garment = _GARMENTS.get(_stem(REGIONS[index]))
            if substitute is None and garment is not None:
                completed[index] = torch.from_numpy(usual_colour(garment, completed.numpy()))
        return completed

    def _substitute(self, name: str) -> int | None:
        """The index of the region whose colour an unseen region takes, if one of them was seen."""
        candidates = (mirror_name(name), *_SUBSTITUTES[_stem(name)])
        known = [REGION_INDEX[candidate] for candidate in candidates if self.weights[REGION_INDEX[candidate]] > 0]
        return known[0] if known else None


def _stem(region: str) -> str:
    return region.removesuffix(".L").removesuffix(".R")
