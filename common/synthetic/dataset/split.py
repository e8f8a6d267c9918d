"""Assignment of seeds and motion clips to the training, validation and test splits.

The splits have no content in common: their seed ranges are disjoint, and a clip's poses are used in one split only.
"""

import re
import zlib
from typing import Literal

import numpy as np

from common.arrays import IntArray

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
