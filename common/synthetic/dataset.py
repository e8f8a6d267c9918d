"""Data sets: presets of poses, framing, occlusion, clothes and lenses, and which person is in which split.

`EVERYDAY` resembles a camera in a room or a street: upright people, mostly complete, more from the front than from
behind, in captured poses.  `WIDE` covers the whole range of poses and crops.  Both paint clothes on the bare body.
`DRESSED` resembles photographs that people take of each other (closer, more seated people, more bystanders, a wide
range of focal lengths), and everybody wears an outfit of known kinds of hair and clothes (`common.synthetic.kinds`).

Assignment of seeds and motion clips to the training, validation and test splits.

The splits have no content in common: their seed ranges are disjoint, and a clip's poses are used in one split only.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.arrays import IntArray


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


Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

SEED_RANGES: dict[Split, range] = {
    "train": range(0, 10_000_000),
    "val": range(10_000_000, 11_000_000),
    "test": range(20_000_000, 2**31),
}

VAL_CLIPS: frozenset[str] = frozenset(
    {
        "cmu/002_08",
        "cmu/005_07",
        "cmu/006_07",
        "cmu/007_06",
        "deepmimic/dance_a",
        "deepmimic/jog",
        "deepmimic/kick",
        "makehuman/standing03",
    }
)
TEST_CLIPS: frozenset[str] = frozenset(
    {
        "cmu/001_08",
        "cmu/002_04",
        "cmu/002_06",
        "cmu/005_13",
        "cmu/006_10",
        "cmu/007_10",
        "deepmimic/dance_b",
        "deepmimic/jump",
        "deepmimic/long_walk3",
        "deepmimic/punch",
        "makehuman/standing06",
    }
)


# Subjects of whom no clip is trained on. Who moves in `cmu/c2s_…` is unknown: two activities may be subject 14's.
_HELD_BACK: tuple[tuple[Split, str], ...] = (
    ("test", r"cmu/01[24]_|uiprmd/m\d+_s(09|10)_"),
    ("val", r"cmu/(009|010)_|cmu/c2s_.*(traffic|jumping)|uiprmd/m\d+_s08_"),
)
_BY_MOTION = ("rocketbox", "mesh2motion")


def clip_split(name: str) -> Split:
    """The split of a source clip, such as `cmu/005_13`: by clip, by subject, or by motion.

    Of sources with one or two people, an eighth of the motions is tested and an eighth validated; a motion is in one
    split whoever does it, and however often and to whichever side.
    """
    if name in TEST_CLIPS | VAL_CLIPS:
        return "test" if name in TEST_CLIPS else "val"
    source, _, clip = name.partition("/")
    if source in _BY_MOTION:
        motion = re.sub(r"^[fm]_|_(left|right|\d+|rm|loop)(?=_|$)", "", clip.lower())
        return {0: "test", 1: "val"}.get(zlib.crc32(motion.encode()) % 8, "train")  # type: ignore[return-value]
    return next((split for split, pattern in _HELD_BACK if re.match(pattern, name)), "train")


def check_seed(split: Split, seed: int) -> int:
    """Returns the seed. Raises ValueError if it is outside the split's range."""
    allowed = SEED_RANGES[split]
    if seed not in allowed:
        raise ValueError(f"seed {seed} is not a {split} seed; use one from {allowed.start} to {allowed.stop - 1}")
    return seed


def identity_rows(split: Split, count: int) -> IntArray:
    """Rows of the shape table that belong to a split: of every ten, eight train, one val, one test."""
    digit = np.arange(count) % 10
    return np.flatnonzero({"train": digit < 8, "val": digit == 8, "test": digit == 9}[split])
