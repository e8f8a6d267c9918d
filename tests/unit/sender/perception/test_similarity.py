import numpy as np
import pytest

from sender.perception.similarity import Appearance, ImagePose

STANDING = np.stack([np.tile([100.0, 140.0], 9)[:17], np.linspace(50, 350, 17)], axis=1).astype(np.float32)
ALL = np.ones(17, dtype=np.bool_)
LEGS = np.arange(17) >= 9


def appearance(colours: list[float], area: list[float]) -> Appearance:
    """Grey regions."""
    return Appearance(np.repeat(np.array([colours], np.float32), 3, axis=0).T, np.array(area, np.float32))


def test_distance_is_over_commonly_visible_regions() -> None:
    first, second = appearance([0.2, 0.9], [0.1, 0.1]), appearance([0.5, 0.0], [0.1, 0.0])
    assert first.distance(second) == pytest.approx(0.3)
    assert first.distance(first) == 0.0
    assert appearance([0.2, 0.9], [0.1, 0.0]).distance(appearance([0.2, 0.9], [0.0, 0.1])) is None


def test_blend_weighs_regions_by_visible_area() -> None:
    memory = appearance([0.2, 0.2, 0.2], [0.1, 0.1, 0.0])
    after = memory.blended(appearance([0.6, 0.6, 0.6], [0.1, 0.0, 0.1]), 0.25)
    assert after.colours[:, 0] == pytest.approx([0.3, 0.2, 0.6])
    assert after.area == pytest.approx([0.1, 0.075, 0.025])
    nothing = appearance([0.5], [0.0])
    assert np.isfinite(nothing.blended(nothing, 0.5).colours).all()


def test_part_of_a_person_is_the_same_person_and_who_stands_behind_is_not() -> None:
    noisy = (STANDING + np.random.default_rng(0).normal(0, 4, STANDING.shape)).astype(np.float32)
    whole, legs = ImagePose(STANDING, ALL), ImagePose(noisy, LEGS)
    assert whole.is_same_person(legs) and legs.is_same_person(whole)
    assert not whole.is_same_person(ImagePose(STANDING + np.array([45, -10], np.float32), ALL))
    assert whole.is_same_person(ImagePose(STANDING, np.arange(17) >= 13))
    assert not whole.is_same_person(ImagePose(STANDING, np.arange(17) >= 14)), "too few keypoints in common"


def test_hips_of_a_person_may_lie_farther_apart_than_eyes() -> None:
    moved = STANDING + np.array([8, 0], np.float32)
    legs, face = LEGS & (np.arange(17) >= 11), np.arange(17) < 5
    assert ImagePose(STANDING, legs).is_same_person(ImagePose(moved, legs))
    assert not ImagePose(STANDING, face).is_same_person(ImagePose(moved, face))
