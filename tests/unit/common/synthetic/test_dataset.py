"""Dataset presets."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from common.body.anatomy import JOINT_INDEX
from common.synthetic.dataset import SEED_RANGES, SPLITS, TEST_CLIPS, VAL_CLIPS, WIDE, check_seed, clip_split
from common.synthetic.motion.poses import PoseSampler, load_table


def test_seated_poses_bend_the_legs_and_keep_the_arms() -> None:
    standing = replace(WIDE, recipes=(1.0, 0.0, 0.0, 0.0))
    poses, seated = (
        PoseSampler("train", 3, preset=preset).sample(300).rotation_vectors
        for preset in (standing, replace(standing, seated=1.0))
    )
    legs = [JOINT_INDEX[name] for name in ("upperleg01.L", "upperleg01.R", "lowerleg01.L", "lowerleg01.R")]
    seated_angle, angle = (np.median(np.linalg.norm(batch[:, legs], axis=-1)) for batch in (seated, poses))
    assert seated_angle > 1.2 > angle
    # Seating shifts the random stream, so only the distribution of the arms can be compared.
    arms = [JOINT_INDEX["lowerarm01.L"], JOINT_INDEX["lowerarm01.R"]]
    assert seated[:, arms].std() == pytest.approx(poses[:, arms].std(), rel=0.1)


def test_a_seed_belongs_to_one_split() -> None:
    for split, other in permutations(SPLITS, 2):
        for seed in (SEED_RANGES[split].start, SEED_RANGES[split].stop - 1):
            assert check_seed(split, seed) == seed
            with pytest.raises(ValueError, match=f"not a {other} seed"):
                check_seed(other, seed)


def test_every_listed_clip_is_in_the_table() -> None:
    names = set(load_table().clip_names)
    assert not VAL_CLIPS & TEST_CLIPS
    assert names >= VAL_CLIPS | TEST_CLIPS
    assert {clip_split(name) for name in names} == set(SPLITS)


def test_poses_of_the_splits_are_disjoint_and_complete() -> None:
    table = load_table()
    seen = [{pose.tobytes() for pose in table.poses_of(split)[0]} for split in SPLITS]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert sum(len(table.poses_of(split)[0]) for split in SPLITS) == len(table.poses)


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
