"""Castings with a part left out: that part is gone, and the rest is there."""

import numpy as np
import pytest

from common.humans.casting import DRESSED, PARTS, WIDE, Casting
from common.humans.poses import RECIPES, PoseSampler
from common.humans.scene import Crops, scene_maker


def _crops(casting: Casting) -> Crops:
    return scene_maker("train", np.random.default_rng(0), 6, casting).make(11, 12, 64)


def test_every_part_can_be_left_out_and_shows_in_the_name() -> None:
    for part in PARTS:
        less = DRESSED.without(part)
        assert less != DRESSED
        assert part in less.name
    with pytest.raises(ValueError, match="garments, degradations"):
        DRESSED.without("faces")


def test_without_captured_poses_all_are_free_or_wide() -> None:
    drawn = PoseSampler("train", 3, casting=WIDE.without("captured")).sample(200).recipe
    assert {RECIPES[index] for index in drawn} == {"free", "wide"}


def test_without_occluders_nobody_is_hidden() -> None:
    assert not _crops(WIDE.without("occluders"))["occluded"].any()


def test_without_backgrounds_and_degradations_what_is_behind_has_one_colour() -> None:
    bare = Casting("bare", WIDE.recipes, False, 0.6, 1.0, 0.0, 0.0).without("backgrounds").without("degradations")
    flat = [len(np.unique(image[:4, :4].reshape(-1, 3), axis=0)) == 1 for image in np.asarray(_crops(bare)["image"])]
    # A shadow, or a person at the corner, may darken some.
    assert np.mean(flat) > 0.7


@pytest.mark.parametrize("spoiler", ["degradations", "garments"])
def test_the_truth_of_the_body_stays(spoiler: str) -> None:
    whole, less = _crops(DRESSED), _crops(DRESSED.without(spoiler))
    for name in ("shape", "curl", "rotation_vectors"):
        assert np.array_equal(whole[name], less[name]), name
    assert not np.array_equal(whole["image"], less["image"])
