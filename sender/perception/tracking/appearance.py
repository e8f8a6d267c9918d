"""What somebody looks like: the colours of the body's regions, to tell people apart who meet in the picture.

An appearance descriptor as multi-object trackers keep one (Wojke et al., "Simple online and realtime tracking with a
deep association metric", 2017), of what perception sees anyway.  Shapes: R body regions.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray
from sender.perception.network.output import PerceptionOutput

# Two people of whom less is seen in common, in shares of the crop, cannot be compared.
_LEAST_AREA = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """Colours of somebody's regions.

    Args:
        colours: (R, 3) sRGB 0…1.
        area: (R,) share of the crop that each covers; 0 where it is not seen.
    """

    colours: FloatArray
    area: FloatArray

    @classmethod
    def of(cls, output: PerceptionOutput) -> "Appearance":
        """Of one person, a batch of one."""
        return cls(output.region_colours[0].float().numpy(), output.region_area[0].float().square().numpy())

    def distance(self, other: "Appearance") -> float | None:
        """Mean difference of colour over what is seen of both, 0…1; None where that is next to nothing."""
        weight = np.minimum(self.area, other.area)
        if weight.sum() < _LEAST_AREA:
            return None
        return float(weight @ np.abs(self.colours - other.colours).mean(axis=1) / weight.sum())

    def blended(self, new: "Appearance", rate: float) -> "Appearance":
        """With `rate` of what is seen now, region by region as much as is seen of it."""
        area = self.area + rate * (new.area - self.area)
        share = (rate * new.area / np.maximum(area, 1e-9))[:, None]
        colours = self.colours + share * (new.colours - self.colours)
        return Appearance(colours.astype(np.float32), area.astype(np.float32))
