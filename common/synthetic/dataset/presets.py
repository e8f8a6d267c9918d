"""Dataset presets: distributions of poses, framing, occlusion, clothes and lenses.

`EVERYDAY` resembles a camera in a room or a street: upright people, mostly complete, more from the front than from
behind, in captured poses.  `WIDE` covers the whole range of poses and crops.  Both paint clothes on the bare body.
`DRESSED` uses garment meshes.  `CANDID` resembles photographs that people take of each other: closer, more seated
people, more bystanders, a wide range of focal lengths.  `WARDROBE` is `DRESSED` with tailored garments.  `KINDS` shows
each kind of hair and clothes of `common.wears` often, and names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class DatasetPreset:
    """Parameters of a data set's distribution; shares and probabilities are in 0…1.

    Args:
        name: used in file names and training recipes.
        recipes: shares of captured, blended, free and wide poses (`common.synthetic.motion.poses.RECIPES`).
        upright: only captured poses whose pelvis is tilted by less than 45°.
        facing: share of people within 70° of facing the camera.
        whole: share of crops that contain the whole person; the others truncate it.
        bystanders: probability of other people behind the person.
        occluders: probability of an object in front; that of a person in front is half of it.
        dressed: share of people with garment meshes instead of painted clothes.
        tailored: share of the people with garments whose garments are altered or made to measure
            (`common.synthetic.assets.garment`).
        seated: share of captured and blended poses whose legs are replaced by seated ones.
        closeups: share of close-ups of the face among the truncating crops.
        kinds: everybody wears an outfit of known kinds (`common.synthetic.kinds`).
        lenses: median focal length in crop widths, standard deviation of its logarithm, and the longest.
    """

    name: str
    recipes: tuple[float, float, float, float]
    upright: bool
    facing: float
    whole: float
    bystanders: float
    occluders: float
    dressed: float = 0.0
    tailored: float = 0.0
    seated: float = 0.0
    closeups: float = 0.0
    kinds: bool = False
    lenses: tuple[float, float, float] = (2.0, 0.55, 8.0)

    def __post_init__(self) -> None:
        if abs(sum(self.recipes) - 1) > 1e-9:
            raise ValueError(f"the shares of the recipes sum to {sum(self.recipes)}, not to 1")
        shares = (self.facing, self.whole, self.bystanders, 1.5 * self.occluders)
        if not all(0 <= share <= 1 for share in (*shares, self.dressed, self.tailored, self.seated, self.closeups)):
            raise ValueError("shares and probabilities must be in 0…1")


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
WARDROBE = replace(DRESSED, name="wardrobe", dressed=0.9, tailored=0.8)
KINDS = replace(CANDID, name="kinds", dressed=1.0, whole=0.65, closeups=0.08, kinds=True)
_ALL = (EVERYDAY, WIDE, DRESSED, CANDID, WARDROBE, KINDS)
PRESETS: Mapping[str, DatasetPreset] = {preset.name: preset for preset in _ALL}
