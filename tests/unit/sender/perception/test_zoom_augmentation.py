from dataclasses import replace

import numpy as np
import pytest
import torch

from common.body.model import BodyModel
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception, in_crops
from tests.unit.sender.perception.test_flip_augmentation import TINY
from tests.unit.sender.train.test_crops import random_crops

CROP = CropBox(100, 50, 200)


@pytest.fixture(scope="module")
def perception() -> Perception:
    torch.manual_seed(0)
    return Perception(PerceptionNet(TINY))


@pytest.fixture(scope="module")
def output(perception: Perception) -> PerceptionOutput:
    with torch.no_grad():
        result: PerceptionOutput = perception.net(random_crops(BodyModel.load()).image[:1])
    return result


@pytest.mark.parametrize("seen", [CropBox(110, 60, 160), CropBox(70, 40, 260)])
def test_keypoints_and_pelvis_stay_at_their_pixels(output: PerceptionOutput, seen: CropBox) -> None:
    moved = in_crops(output, [seen], [CROP], output)
    for before, after in ((output.keypoints_2d[0], moved.keypoints_2d[0]), (output.camera[:, :2], moved.camera[:, :2])):
        np.testing.assert_allclose(CROP.to_pixels(after.numpy()), seen.to_pixels(before.numpy()), atol=1e-3)
    metres_per_pixel = (output.camera[0, 2].exp() / seen.side).item()
    assert (moved.camera[0, 2].exp() / CROP.side).item() == pytest.approx(metres_per_pixel)
    torch.testing.assert_close(moved.keypoints_sigma * CROP.side, output.keypoints_sigma * seen.side)


def test_maps_move_with_the_crop_and_keep_what_it_does_not_show(output: PerceptionOutput) -> None:
    cells = output.mask_logits.shape[-1]
    mask = torch.full((1, cells, cells), -5.0)
    # A pixel of the frame at 200, 150: the middle of CROP, the lower right quarter of the crop that was seen.
    seen = CropBox(80, 30, 160)
    mask[:, round(cells * 120 / 160) - 1 : round(cells * 120 / 160) + 1, round(cells * 120 / 160) - 1 :] = 5.0
    own = replace(output, mask_logits=mask)
    otherwise = replace(output, mask_logits=torch.full_like(mask, 1.0))
    moved = in_crops(own, [seen], [CROP], otherwise).mask_logits[0]
    assert moved[cells // 2, cells // 2] > 0
    assert moved[0, 0] < 0
    assert moved[-1, -1] == 1.0
