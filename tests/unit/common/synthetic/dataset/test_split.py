from itertools import pairwise

import pytest

from common.synthetic.dataset import SEED_RANGES, SPLITS, TEST_CLIPS, VAL_CLIPS, check_seed, clip_split
from common.synthetic.motion.poses import load_table


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


def test_new_subjects_and_motions_are_in_one_split() -> None:
    assert {clip_split(f"cmu/014_{trial}") for trial in ("04", "29", "37")} == {"test"}
    assert clip_split("cmu/009_01") == clip_split("uiprmd/m10_s08_e03") == "val"
    assert clip_split("uiprmd/m01_s09_e05") == clip_split("uiprmd/m10_s10_e05") == "test"
    assert clip_split("cmu/c2s_train_walking_23") == clip_split("uiprmd/m09_s01_e03") == "train"
    for same in (("f_run_neutral", "m_run_neutral_01"), ("f_turn_left_120", "m_turn_right_90", "f_turn_right_180")):
        assert len({clip_split(f"rocketbox/{name}") for name in same}) == 1
    motions = [f"rocketbox/f_motion{chr(97 + k)}{chr(97 + j)}" for k in range(20) for j in range(20)]
    shares = [sum(clip_split(name) == split for name in motions) / len(motions) for split in SPLITS]
    assert 0.7 < shares[0] < 0.8 and min(shares) > 0.08
