"""Dataset presets and their ablations."""

from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import JOINT_INDEX
from common.synthetic.dataset.presets import CANDID, DRESSED, PARTS, PRESETS, WIDE, DatasetPreset
from common.synthetic.motion.poses import RECIPES, PoseSampler
from common.synthetic.scene.scene import Crops, scene_maker


def _crops(preset: DatasetPreset) -> Crops:
    return scene_maker("train", np.random.default_rng(0), 6, preset).make(11, 12, 64)


def test_without_changes_the_preset_and_its_name() -> None:
    for part in PARTS:
        ablated = DRESSED.without(part)
        assert ablated != DRESSED
        assert part in ablated.name
    with pytest.raises(ValueError, match="garments, degradations"):
        DRESSED.without("faces")


def test_without_captured_poses() -> None:
    drawn = PoseSampler("train", 3, preset=WIDE.without("captured")).sample(200).recipe
    assert {RECIPES[index] for index in drawn} == {"free", "wide"}


def test_without_occluders() -> None:
    assert not _crops(WIDE.without("occluders"))["occluded"].any()


def test_without_backgrounds_and_degradations_the_background_has_one_colour() -> None:
    bare = DatasetPreset("bare", WIDE.recipes, False, 0.6, 1.0, 0.0, 0.0).without("backgrounds").without("degradations")
    flat = [len(np.unique(image[:4, :4].reshape(-1, 3), axis=0)) == 1 for image in np.asarray(_crops(bare)["image"])]
    # The corner may show a shadow or the person.
    assert np.mean(flat) > 0.7


@pytest.mark.parametrize("part", ["degradations", "garments"])
def test_without_keeps_the_truth_of_the_body(part: str) -> None:
    complete, ablated = _crops(DRESSED), _crops(DRESSED.without(part))
    for name in ("shape", "curl", "rotation_vectors"):
        assert np.array_equal(complete[name], ablated[name]), name
    assert not np.array_equal(complete["image"], ablated["image"])


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


def test_presets_are_indexed_by_name_and_candid_truncates_most() -> None:
    assert all(PRESETS[name].name == name for name in PRESETS)
    assert CANDID.whole < min(preset.whole for preset in PRESETS.values() if preset is not CANDID)


@pytest.mark.parametrize("wrong", [{"seated": 1.2}, {"closeups": -0.1}, {"recipes": (0.5, 0.0, 0.0, 0.0)}])
def test_shares_outside_0_to_1_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        replace(CANDID, **wrong)  # type: ignore[arg-type]
