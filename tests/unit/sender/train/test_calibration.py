"""Calibration of the mask head's threshold."""

from dataclasses import replace

import torch

from common.body.model import BodyModel
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.train.calibration import best_mask_threshold, shift_mask_threshold
from sender.train.crops import CropBatch
from tests.unit.sender.train.test_augmentation import random_crops

TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


def net_and_truth(threshold: float) -> tuple[PerceptionNet, CropBatch]:
    """A network whose masks are exact at `threshold`."""
    torch.manual_seed(0)
    net, crops = PerceptionNet(TINY).eval(), random_crops(BodyModel.load())
    with torch.no_grad():
        logits = net(crops.image).mask_logits
        net.mask.read.weight[:4] *= 2.0 / logits.std()
        return net, replace(crops, mask=(net(crops.image).mask_logits > threshold).float())


def test_best_threshold_is_found_and_shifted_to_zero() -> None:
    net, truth = net_and_truth(0.75)
    threshold = best_mask_threshold(net, [truth, truth])
    assert abs(threshold - 0.75) < 0.2
    before = net(truth.image)
    shift_mask_threshold(net, threshold)
    after = net(truth.image)
    torch.testing.assert_close(after.mask_logits, before.mask_logits - threshold, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.part_logits, before.part_logits)
    assert abs(best_mask_threshold(net, [truth])) < 0.13
