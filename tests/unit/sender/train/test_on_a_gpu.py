"""Training and inference on a GPU that does not exist: torch tracks devices and shapes without computing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from common.body.model import BodyModel, KeypointKinematics
from sender.perception.inference.flip_augmentation import FlipAugmentation
from sender.perception.network.network import NETWORKS, PerceptionNet
from sender.train import multi_task_loss
from sender.train.multi_task_loss import LossWeights, MultiTaskLoss
from tests.unit.sender.train.test_augmentation import random_crops
from tests.unit.sender.train.test_multi_task_loss import TINY

GPU = torch.device("cuda", 0)


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Modules and tensors move to a fake GPU; operations on tensors of two devices still fail."""
    convert = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(convert)


def test_loss_is_computed_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    net, kinematics = PerceptionNet(TINY), KeypointKinematics(BodyModel.load())
    batch = random_crops(kinematics.body)
    # The number of positive crops and the value of a loss depend on data, which fake tensors have none of.
    monkeypatch.setattr(multi_task_loss, "of_people", lambda crops, _person: crops)
    monkeypatch.setattr(torch.Tensor, "item", lambda _self: 0.0)
    with fake_gpu():
        net, kinematics, batch = net.to(GPU), kinematics.to(GPU), batch.to(GPU)
        loss, _ = MultiTaskLoss(kinematics, LossWeights())(net(batch.image), batch)
        assert loss.device == GPU


def test_flip_augmentation_is_computed_on_the_gpu() -> None:
    net = PerceptionNet(TINY)
    with fake_gpu():
        assert FlipAugmentation(net.to(GPU))(torch.zeros(2, 3, 32, 32, device=GPU)).features().device == GPU


def test_network_for_gpus_is_the_largest() -> None:
    sizes = {name: sum(p.numel() for p in PerceptionNet(NETWORKS[name]).parameters()) for name in NETWORKS}
    assert sizes["gpu"] > 3 * sizes["cpu"] > 3 * sizes["probe"]
