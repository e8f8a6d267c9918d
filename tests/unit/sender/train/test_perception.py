"""The loss of rendered crops and photographs, and its inputs."""

from dataclasses import replace
from functools import partial

import torch

from common.body.model import BodyModel, KeypointKinematics
from sender.perception.perception_network import PerceptionNet
from sender.train.crops import CropBatch
from sender.train.perception import best_mask_threshold, mixed_loss, shift_mask_threshold
from tests.unit.sender.train.test_crops import TINY, crops, random_crops


def test_rendered_crops_are_resampled_with_their_maps() -> None:
    batch = random_crops(BodyModel.load())
    larger = batch.resized(2 * batch.image.shape[-1])
    assert larger.image.shape[-1] == 2 * batch.image.shape[-1]
    assert larger.mask.shape[-1] == larger.depth.shape[-1] == larger.part.shape[-1] == larger.image.shape[-1] // 2
    assert torch.equal(larger.part[:, ::2, ::2].long(), batch.part)
    assert torch.equal(larger.depth[:, 1::2, 1::2], batch.depth)
    torch.testing.assert_close(larger.mask.mean(), batch.mask.mean(), atol=1e-3, rtol=0)
    assert batch.resized(batch.image.shape[-1]) is batch


def test_loss_of_a_mixed_batch_has_the_terms_of_both_worlds() -> None:
    body = BodyModel.load()
    net, rendered = PerceptionNet(TINY), random_crops(body)
    loss_of = partial(mixed_loss, KeypointKinematics(body))
    loss, terms = loss_of(net, rendered, crops(len(rendered)))
    assert {"mask.dice", "depth.l1", "photographs.heat", "photographs.skeleton"} <= terms.keys()
    loss.backward()


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
