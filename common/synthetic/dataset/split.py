"""Assignment of seeds and motion clips to the training, validation and test splits.

The splits have no content in common: their seed ranges are disjoint, and a clip's poses are used in one split only.
"""

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


def clip_split(name: str) -> Split:
    """The split of a source clip, such as `cmu/005_13`."""
    if name in TEST_CLIPS:
        return "test"
    return "val" if name in VAL_CLIPS else "train"


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
