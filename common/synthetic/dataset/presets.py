"""What kinds of pictures are drawn: how people stand, turn, are framed and hidden.

`EVERYDAY` is what a camera in a room or a street mostly sees: people upright, mostly whole, more from the front than
from behind, in captured poses.  `WIDE` has everything that a body can do and that a crop can do to it.  Both
paint clothes on the bare body; `DRESSED` puts garments on it, and shows its people as a street or a webcam does.
`CANDID` is what people photograph of each other: closer, more of them seated, among others, through any lens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class DatasetPreset:
    """Shares of a data set.

    Args:
        name: in file names and recipes.
        recipes: shares of captured, blended, free and wide poses (`common.synthetic.motion.poses.RECIPES`).
        upright: captured people lean by less than 45° at the hips.
        facing: share of people within 70° of facing the camera.
        whole: share of crops that hold the whole person; the others cut it off.
        bystanders: chance of other people behind.
        occluders: chance of a thing in front; of a person in front it is half of that.
        dressed: share of people who wear garments instead of paint.
        seated: share of captured and blended poses whose legs sit down.
        closeups: share of the crops that cut people off which show hardly more than a face.
        lenses: median focal length in crop widths, standard deviation of its logarithm, and the longest.
        degradations: pictures are blurred, noisy, compressed and so on, as cameras make them.
        backgrounds: there are pictures behind the people, not just one colour.
    """

    name: str
    recipes: tuple[float, float, float, float]
    upright: bool
    facing: float
    whole: float
    bystanders: float
    occluders: float
    dressed: float = 0.0
    seated: float = 0.0
    closeups: float = 0.0
    lenses: tuple[float, float, float] = (2.0, 0.55, 8.0)
    degradations: bool = True
    backgrounds: bool = True

    def __post_init__(self) -> None:
        if abs(sum(self.recipes) - 1) > 1e-9:
            raise ValueError(f"the shares of the recipes add up to {sum(self.recipes)}, not to 1")
        shares = (self.facing, self.whole, self.bystanders, 1.5 * self.occluders)
        if not all(0 <= share <= 1 for share in (*shares, self.dressed, self.seated, self.closeups)):
            raise ValueError("shares and chances lie between 0 and 1")

    def without(self, part: str) -> "DatasetPreset":
        """The same, one of `PARTS` left out, to learn what it is worth.

        Raises:
            ValueError: there is no such part.
        """
        if part not in PARTS:
            raise ValueError(f"no part {part!r}; the parts are {', '.join(PARTS)}")
        name = f"{self.name}-without-{part}"
        if part == "garments":
            return replace(self, name=name, dressed=0.0)
        if part == "degradations":
            return replace(self, name=name, degradations=False)
        if part == "occluders":
            return replace(self, name=name, occluders=0.0)
        if part == "backgrounds":
            return replace(self, name=name, backgrounds=False)
        captured, blended, free, wide = self.recipes
        return replace(self, name=name, recipes=(0.0, 0.0, captured + blended + free, wide))


PARTS = ("garments", "degradations", "occluders", "captured", "backgrounds")
"""What `Preset.without` can leave out; `captured` are poses of people who were recorded, and blends of them."""

EVERYDAY = DatasetPreset("everyday", (0.85, 0.10, 0.05, 0.0), True, 0.75, 0.90, 0.20, 0.10)
WIDE = DatasetPreset("wide", (0.55, 0.15, 0.20, 0.10), False, 0.60, 0.62, 0.25, 0.22)
DRESSED = DatasetPreset("dressed", (0.65, 0.15, 0.15, 0.05), False, 0.65, 0.65, 0.35, 0.20, 0.75)
CANDID = DatasetPreset(
    "candid",
    recipes=(0.70, 0.15, 0.13, 0.02),
    upright=False,
    facing=0.70,
    whole=0.50,
    bystanders=0.50,
    occluders=0.28,
    dressed=0.80,
    seated=0.25,
    closeups=0.15,
    lenses=(2.5, 0.8, 55.0),
)
PRESETS: Mapping[str, DatasetPreset] = {preset.name: preset for preset in (EVERYDAY, WIDE, DRESSED, CANDID)}
