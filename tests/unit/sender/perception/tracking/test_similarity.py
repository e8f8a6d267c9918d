from dataclasses import replace

import numpy as np
import pytest
import torch

from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionNet
from sender.perception.tracking.similarity import Appearance, ImagePose
from tests.unit.sender.train.test_multi_task_loss import TINY

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


def test_distance_without_common_regions_is_none() -> None:
    assert appearance([0.2, 0.9], [0.1, 0.0]).distance(appearance([0.2, 0.9], [0.0, 0.1])) is None


def test_blend_weighs_regions_by_visible_area() -> None:
    memory = appearance([0.2, 0.2, 0.2], [0.1, 0.1, 0.0])
    after = memory.blended(appearance([0.6, 0.6, 0.6], [0.1, 0.0, 0.1]), 0.25)
    assert after.colours[:, 0] == pytest.approx([0.3, 0.2, 0.6])
    assert after.area == pytest.approx([0.1, 0.075, 0.025])


def test_blend_without_visible_area_is_finite() -> None:
    nothing = appearance([0.5], [0.0])
    assert np.isfinite(nothing.blended(nothing, 0.5).colours).all()


def test_part_of_a_person_is_the_same_person() -> None:
    rng = np.random.default_rng(0)
    noisy = (STANDING + rng.normal(0, 4, STANDING.shape)).astype(np.float32)
    whole, legs = ImagePose(STANDING, ALL), ImagePose(noisy, LEGS)
    assert whole.is_same_person(legs)
    assert legs.is_same_person(whole)


def test_occluded_person_is_not_a_duplicate() -> None:
    behind = ImagePose(STANDING + np.array([45, -10], np.float32), ALL)
    assert not ImagePose(STANDING, ALL).is_same_person(behind)


def test_too_few_common_keypoints_are_not_the_same_person() -> None:
    assert not ImagePose(STANDING, ALL).is_same_person(ImagePose(STANDING, np.arange(17) >= 12))


@pytest.mark.parametrize(("logit", "sigma", "located"), [(1.0, 0.05, True), (-1.0, 0.05, False), (1.0, 0.2, False)])
def test_keypoint_is_located_if_visible_and_narrow(logit: float, sigma: float, located: bool) -> None:
    output = Perception(PerceptionNet(TINY)).observe([np.zeros((32, 32, 3), np.uint8)])
    output = replace(
        output,
        keypoints_2d=torch.full((1, 17, 2), 0.25),
        visible_logit=torch.full((1, 17), logit),
        keypoints_sigma=torch.full((1, 17), sigma),
    )
    crop = CropBox.around(np.array([100, 100, 200, 300], dtype=np.float32))
    image_pose = ImagePose.from_output(output, crop)
    assert image_pose.located.tolist() == [located] * 17
    assert np.allclose(image_pose.keypoints, [crop.left + crop.side / 4, crop.top + crop.side / 4], atol=1e-3)
