from dataclasses import fields, replace

import pytest
import torch

from common.body.model import BodyModel
from sender.perception.heads import cell_centres, peak_positions
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput, mask_moments
from sender.perception.predictor import mean, mirrored
from sender.train.crops import CropBatch, mirror
from tests.unit.sender.train.test_crops import perfect, random_crops

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.fixture(scope="module")
def net() -> PerceptionNet:
    torch.manual_seed(0)
    return PerceptionNet(TINY).eval()


@pytest.fixture(scope="module")
def crops() -> CropBatch:
    return random_crops(BodyModel.load())


def true_output(net: PerceptionNet, truth: CropBatch) -> PerceptionOutput:
    """A perfect network's output, for the fields that the truth has; the others are an untrained network's."""
    with torch.no_grad():
        output = perfect(net(truth.image), truth)
    return replace(
        output,
        part_logits=torch.nn.functional.one_hot(truth.part, output.part_logits.shape[1]).movedim(-1, 1).float(),
        mask_moments=mask_moments(truth.mask, cell_centres(truth.mask)),
    )


def test_mirrored_truth_is_truth_of_mirrored_crop(net: PerceptionNet, crops: CropBatch) -> None:
    flipped, expected = mirrored(true_output(net, crops)), true_output(net, mirror(crops))
    names = ("keypoints_2d", "joints_3d", "rotations_6d", "shape", "curl", "camera", "depth", "mask_logits")
    for name in (*names, "part_logits", "mask_moments"):
        torch.testing.assert_close(getattr(flipped, name), getattr(expected, name), atol=1e-5, rtol=0, msg=name)


def test_mean_adds_variance_between_predictions(net: PerceptionNet, crops: CropBatch) -> None:
    with torch.no_grad():
        output = net(crops.image)
    same = mean([output, output])
    for item in fields(output):
        torch.testing.assert_close(getattr(same, item.name), getattr(output, item.name), atol=1e-5, rtol=1e-5)
    moved = replace(output, joints_3d=output.joints_3d + 0.4, keypoints_2d=output.keypoints_2d + 0.1)
    between = mean([output, moved])
    torch.testing.assert_close(between.joints_3d, output.joints_3d + 0.2)
    torch.testing.assert_close(between.joints_log_variance.exp(), output.joints_log_variance.exp() + 0.04)
    assert (between.keypoints_sigma > output.keypoints_sigma).all()
    torch.testing.assert_close(between.rotations_log_variance, output.rotations_log_variance)


def test_keypoints_are_read_at_the_higher_of_two_peaks(net: PerceptionNet) -> None:
    attention = torch.full((1, 2, 16, 24), 1e-6)
    attention[0, 0, 4, 6], attention[0, 0, 12, 20] = 0.6, 0.4
    attention[0, 1, 9, 3:5] = 0.5
    attention = attention / attention.sum(dim=(-2, -1), keepdim=True)
    found = peak_positions(attention)
    expected = torch.tensor([[[6.5 / 24, 4.5 / 16], [4.0 / 24, 9.5 / 16]]])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
