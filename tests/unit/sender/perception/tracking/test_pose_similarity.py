"""Postures: one person's, seen in two crops, or two people's who stand close."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionNet
from sender.perception.tracking.pose_similarity import ImagePose
from tests.unit.sender.train.test_multi_task_loss import TINY

STANDING = np.stack([np.tile([100.0, 140.0], 9)[:17], np.linspace(50, 350, 17)], axis=1).astype(np.float32)
EVERY = np.ones(17, dtype=np.bool_)
LEGS = np.arange(17) >= 9


def test_a_part_of_somebody_has_their_posture() -> None:
    rng = np.random.default_rng(0)
    nearly = (STANDING + rng.normal(0, 4, STANDING.shape)).astype(np.float32)
    whole, legs = ImagePose(STANDING, EVERY), ImagePose(nearly, LEGS)
    assert whole.same(legs)
    assert legs.same(whole)


def test_who_stands_half_hidden_behind_somebody_is_somebody_else() -> None:
    behind = ImagePose(STANDING + np.array([45, -10], np.float32), EVERY)
    assert not ImagePose(STANDING, EVERY).same(behind)


def test_few_keypoints_in_common_say_nothing() -> None:
    assert not ImagePose(STANDING, EVERY).same(ImagePose(STANDING, np.arange(17) >= 12))


@pytest.mark.parametrize(("logit", "sigma", "seen"), [(1.0, 0.05, True), (-1.0, 0.05, False), (1.0, 0.2, False)])
def test_what_is_not_in_sight_or_not_sharp_does_not_count(logit: float, sigma: float, seen: bool) -> None:
    output = Perception(PerceptionNet(TINY)).observe([np.zeros((32, 32, 3), np.uint8)])
    output = replace(
        output,
        keypoints_2d=torch.full((1, 17, 2), 0.25),
        visible_logit=torch.full((1, 17), logit),
        keypoints_sigma=torch.full((1, 17), sigma),
    )
    crop = CropBox.around(np.array([100, 100, 200, 300], dtype=np.float32))
    image_pose = ImagePose.of(output, crop)
    assert image_pose.seen.tolist() == [seen] * 17
    assert np.allclose(image_pose.places, [crop.left + crop.side / 4, crop.top + crop.side / 4], atol=1e-3)
