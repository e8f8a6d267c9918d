"""Castings with a part left out: that part is gone, and the rest is there."""

from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import JOINT_INDEX
from common.synthetic.dataset.presets import CANDID, DRESSED, PARTS, PRESETS, WIDE, DatasetPreset
from common.synthetic.motion.poses import RECIPES, PoseSampler
from common.synthetic.scene.scene import Crops, scene_maker


def _crops(preset: DatasetPreset) -> Crops:
    return scene_maker("train", np.random.default_rng(0), 6, preset).make(11, 12, 64)


def test_every_part_can_be_left_out_and_shows_in_the_name() -> None:
    for part in PARTS:
        less = DRESSED.without(part)
        assert less != DRESSED
        assert part in less.name
    with pytest.raises(ValueError, match="garments, degradations"):
        DRESSED.without("faces")


def test_without_captured_poses_all_are_free_or_wide() -> None:
    drawn = PoseSampler("train", 3, preset=WIDE.without("captured")).sample(200).recipe
    assert {RECIPES[index] for index in drawn} == {"free", "wide"}


def test_without_occluders_nobody_is_hidden() -> None:
    assert not _crops(WIDE.without("occluders"))["occluded"].any()


def test_without_backgrounds_and_degradations_what_is_behind_has_one_colour() -> None:
    bare = DatasetPreset("bare", WIDE.recipes, False, 0.6, 1.0, 0.0, 0.0).without("backgrounds").without("degradations")
    flat = [len(np.unique(image[:4, :4].reshape(-1, 3), axis=0)) == 1 for image in np.asarray(_crops(bare)["image"])]
    # A shadow, or a person at the corner, may darken some.
    assert np.mean(flat) > 0.7


@pytest.mark.parametrize("spoiler", ["degradations", "garments"])
def test_the_truth_of_the_body_stays(spoiler: str) -> None:
    whole, less = _crops(DRESSED), _crops(DRESSED.without(spoiler))
    for name in ("shape", "curl", "rotation_vectors"):
        assert np.array_equal(whole[name], less[name]), name
    assert not np.array_equal(whole["image"], less["image"])


def test_seated_people_bend_hips_and_knees_and_keep_their_arms() -> None:
    standing = replace(WIDE, recipes=(1.0, 0.0, 0.0, 0.0))
    poses, seated = (
        PoseSampler("train", 3, preset=preset).sample(300).rotation_vectors
        for preset in (standing, replace(standing, seated=1.0))
    )
    legs = [JOINT_INDEX[name] for name in ("upperleg01.L", "upperleg01.R", "lowerleg01.L", "lowerleg01.R")]
    bend, least = (np.median(np.linalg.norm(some[:, legs], axis=-1)) for some in (seated, poses))
    assert bend > 1.2 > least
    # The draw of everything else goes on from another place in the stream; that arms vary as before must do.
    arms = [JOINT_INDEX["lowerarm01.L"], JOINT_INDEX["lowerarm01.R"]]
    assert seated[:, arms].std() == pytest.approx(poses[:, arms].std(), rel=0.1)


def test_castings_are_found_by_their_names_and_candid_is_closer() -> None:
    assert all(PRESETS[name].name == name for name in PRESETS)
    assert CANDID.whole < min(preset.whole for preset in PRESETS.values() if preset is not CANDID)


@pytest.mark.parametrize("wrong", [{"seated": 1.2}, {"closeups": -0.1}, {"recipes": (0.5, 0.0, 0.0, 0.0)}])
def test_shares_outside_0_to_1_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        replace(CANDID, **wrong)  # type: ignore[arg-type]
