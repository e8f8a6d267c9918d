"""What people wear, learned while they are watched: the colours of each body region, averaged over frames.

One frame shows one side.  Every region keeps a running mean weighted by how much of it was seen, so the longer somebody
is in the picture, the truer the colours; a region never seen takes its mirror image's colour, or that of a neighbour
that usually wears the same.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.body.anatomy import REGION_INDEX, REGIONS, mirror_name

# Whose colour an unseen region takes, most likely first.
_STAND_INS: dict[str, tuple[str, ...]] = {
    "scalp": ("face",),
    "face": ("hand.L", "hand.R"),
    "chest": ("upper_arm.L", "upper_arm.R", "hips"),
    "hips": ("thigh.L", "thigh.R", "chest"),
    "upper_arm": ("chest",),
    "forearm": ("upper_arm.L", "upper_arm.R", "chest"),
    "hand": ("face",),
    "thigh": ("hips",),
    "shin": ("thigh.L", "thigh.R", "hips"),
    "foot": ("shin.L", "shin.R"),
}
_SEEN_AREA = 0.02
_MEMORY = 60.0


@dataclass(slots=True)
class RegionColours:
    """One person's colours so far.

    Args:
        colours: (R, 3) running means in 0…1.
        weights: (R,) how much of each region was seen, in frames that showed all of it.
    """

    colours: Tensor = field(default_factory=lambda: torch.full((len(REGIONS), 3), 0.5))
    weights: Tensor = field(default_factory=lambda: torch.zeros(len(REGIONS)))

    def update(self, colours: Tensor, areas: Tensor) -> Tensor:
        """Takes in one frame and returns the colours (R, 3) as they are now known.

        Args:
            colours: (R, 3) mean colour that each region shows in this frame.
            areas: (R,) square root of the share of the crop that it covers.
        """
        weight = torch.where(areas > _SEEN_AREA, areas.square(), torch.zeros_like(areas))
        total = self.weights + weight
        share = torch.where(total > 0, weight / total.clamp_min(1e-12), torch.zeros_like(weight))
        self.colours = self.colours + share[:, None] * (colours - self.colours)
        # A cap on the memory: light changes, and coats come off.
        self.weights = total.clamp_max(float(_MEMORY * weight.max()) if weight.max() > 0 else float("inf"))
        return self._completed()

    def _completed(self) -> Tensor:
        completed = self.colours.clone()
        for index, name in enumerate(REGIONS):
            if self.weights[index] == 0:
                stand_in = self._stand_in(name)
                if stand_in is not None:
                    completed[index] = self.colours[stand_in]
        return completed

    def _stand_in(self, name: str) -> int | None:
        candidates = (mirror_name(name), *_STAND_INS[name.removesuffix(".L").removesuffix(".R")])
        known = [REGION_INDEX[candidate] for candidate in candidates if self.weights[REGION_INDEX[candidate]] > 0]
        return known[0] if known else None
