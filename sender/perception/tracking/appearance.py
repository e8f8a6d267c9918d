"""A track's appearance: a colour per body region, for re-identification and against identity switches.

An appearance descriptor as in multi-object tracking (Wojke et al., "Simple online and realtime tracking with a deep
association metric", 2017), but taken from perception's output.  Shapes: R body regions.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from common.arrays import FloatArray
from sender.perception.network.output import PerceptionOutput

# Two appearances are compared only if they share at least this area, as a share of the crop.
_MIN_COMMON_AREA = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The colours of one person's body regions.

    Args:
        colours: (R, 3) sRGB 0…1.
        area: (R,) share of the crop that each region covers; 0 where it is not visible.
    """

    colours: FloatArray
    area: FloatArray

    @classmethod
    def from_output(cls, output: PerceptionOutput) -> Self:
        """From the output for one person (a batch of one)."""
        return cls(output.region_colours[0].float().numpy(), output.region_area[0].float().square().numpy())

    def distance(self, other: Self) -> float | None:
        """Mean colour difference over the area visible in both, 0…1; None if that area is too small."""
        weight = np.minimum(self.area, other.area)
        if weight.sum() < _MIN_COMMON_AREA:
            return None
        return float(weight @ np.abs(self.colours - other.colours).mean(axis=1) / weight.sum())

    def blended(self, new: Self, rate: float) -> Self:
        """Moved towards `new` by `rate`, 0…1, each region in proportion to its visible area."""
        area = self.area + rate * (new.area - self.area)
        share = (rate * new.area / np.maximum(area, 1e-9))[:, None]
        colours = self.colours + share * (new.colours - self.colours)
        return replace(self, colours=colours.astype(np.float32), area=area.astype(np.float32))
