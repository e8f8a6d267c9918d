from dataclasses import replace

import numpy as np
import pytest
import torch

from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionNet
from sender.perception.tracking.similarity import Appearance, ImagePose
from tests.unit.sender.train.crops.test_multi_task_loss import TINY

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
    assert not whole.is_same_person(ImagePose(STANDING, np.arange(17) >= 12)), "too few keypoints in common"


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
