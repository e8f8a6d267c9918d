"""Which seeds and which motion clips belong to training, to held-out checks and to the test set.

Nothing that a test image is made of is drawn in training: the seed ranges do not meet, and a clip's poses are drawn in
its own split alone.
"""

from typing import Literal

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
    """The split that a source clip (`cmu/005_13`) belongs to."""
    if name in TEST_CLIPS:
        return "test"
    return "val" if name in VAL_CLIPS else "train"


def check_seed(split: Split, seed: int) -> int:
    """The seed itself.

    Raises:
        ValueError: it lies outside the split's range.
    """
    allowed = SEED_RANGES[split]
    if seed not in allowed:
        raise ValueError(f"seed {seed} is not a {split} seed; take one from {allowed.start} to {allowed.stop - 1}")
    return seed
