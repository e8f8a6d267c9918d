from itertools import pairwise

import pytest

from common.synthetic.dataset.split import SEED_RANGES, SPLITS, TEST_CLIPS, VAL_CLIPS, check_seed, clip_split
from common.synthetic.motion.motion_table import load_table


def test_seed_ranges_are_disjoint() -> None:
    ranges = sorted(SEED_RANGES.values(), key=lambda allowed: allowed.start)
    assert all(first.stop <= second.start for first, second in pairwise(ranges))


def test_check_seed_refuses_seeds_of_other_splits() -> None:
    assert check_seed("test", 20_000_000) == 20_000_000
    with pytest.raises(ValueError, match="not a test seed"):
        check_seed("test", 3)
    with pytest.raises(ValueError, match="not a train seed"):
        check_seed("train", 20_000_000)


def test_every_listed_clip_is_in_the_table() -> None:
    names = set(load_table().clip_names)
    assert not VAL_CLIPS & TEST_CLIPS
    assert names >= VAL_CLIPS | TEST_CLIPS
    assert {clip_split(name) for name in names} == set(SPLITS)


def test_poses_of_the_splits_are_disjoint_and_complete() -> None:
    table = load_table()
    seen = [{pose.tobytes() for pose in table.poses_of(split)} for split in SPLITS]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert sum(len(table.poses_of(split)) for split in SPLITS) == len(table.poses)
