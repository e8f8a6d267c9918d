"""Dataset presets: distributions of poses, framing, occlusion, clothes and lenses.

`EVERYDAY` resembles a camera in a room or a street: upright people, mostly complete, more from the front than from
behind, in captured poses.  `WIDE` covers the whole range of poses and crops.  Both paint clothes on the bare body.
`DRESSED` resembles photographs that people take of each other (closer, more seated people, more bystanders, a wide
range of focal lengths), and everybody wears an outfit of known kinds of hair and clothes (`common.synthetic.kinds`).
"""

from collections.abc import Mapping
from dataclasses import dataclass


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
        dressed: everybody wears an outfit of known kinds instead of painted clothes.
        seated: share of captured and blended poses whose legs are replaced by seated ones.
        closeups: share of close-ups of the face among the truncating crops.
        lenses: median focal length in crop widths, standard deviation of its logarithm, and the longest.
    """

    name: str
    recipes: tuple[float, float, float, float]
    upright: bool
    facing: float
    whole: float
    bystanders: float
    occluders: float
    dressed: bool = False
    seated: float = 0.0
    closeups: float = 0.0
    lenses: tuple[float, float, float] = (2.0, 0.55, 8.0)


EVERYDAY = DatasetPreset("everyday", (0.85, 0.10, 0.05, 0.0), True, 0.75, 0.90, 0.20, 0.10)
WIDE = DatasetPreset("wide", (0.55, 0.15, 0.20, 0.10), False, 0.60, 0.62, 0.25, 0.22)
DRESSED = DatasetPreset(
    "dressed",
    recipes=(0.70, 0.15, 0.13, 0.02),
    upright=False,
    facing=0.70,
    whole=0.65,
    bystanders=0.50,
    occluders=0.28,
    dressed=True,
    seated=0.25,
    closeups=0.08,
    lenses=(2.5, 0.8, 55.0),
)
PRESETS: Mapping[str, DatasetPreset] = {preset.name: preset for preset in (EVERYDAY, WIDE, DRESSED)}
