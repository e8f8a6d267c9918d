from dataclasses import fields
from typing import cast

import pytest
import torch
from torch import Tensor

from sender.perception.heads import Refinement
from sender.perception.perception_network import TASKS, PerceptionConfig, PerceptionNet, PerceptionOutput, TaskMask

TINY = PerceptionConfig(size=64, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.fixture
def net() -> PerceptionNet:
    torch.manual_seed(0)
    return PerceptionNet(TINY).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def differing(first: PerceptionOutput, second: PerceptionOutput) -> set[str]:
    """Names of the fields that differ."""
    names = [item.name for item in fields(PerceptionOutput)]
    return {name for name in names if not torch.allclose(getattr(first, name), getattr(second, name), atol=1e-7)}


def test_every_weight_gets_a_gradient(net: PerceptionNet, images: Tensor) -> None:
    for module in net.modules():
        if isinstance(module, Refinement):  # at first the identity, without gradients inside its branch
            torch.nn.init.ones_(cast(torch.nn.BatchNorm2d, module.branch[2]).weight)
    output = net.train()(images)
    sum(getattr(output, item.name).square().sum() for item in fields(output)).backward()
    idle = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0]
    # Biases of scores under a softmax (and of keys) cancel; every other weight must have a gradient.
    assert {name for name in idle if not name.endswith("bias")} == set()


@pytest.mark.parametrize(
    ("task", "reached"),
    [
        ("depth", {"depth", "depth_log_variance", "joint_depth"}),
        ("mask", {"mask_logits", "part_logits", "mask_moments", "region_colours", "region_area"}),
        ("pose", set()),
    ],
)
def test_task_token_changes_only_its_own_head(net: PerceptionNet, images: Tensor, task: str, reached: set[str]) -> None:
    torch.manual_seed(3)
    for fusion in (net.keypoints.fusion, net.mask.fusion):
        torch.nn.init.normal_(fusion.gain.weight)
    with torch.no_grad():
        before = net(images)
        net.task_tokens[:, TASKS.index(task)] += torch.randn(24)
        changed = differing(before, net(images))
    pose = {name for name in changed if name.startswith(("rotations", "shape", "curl", "camera"))}
    assert reached <= changed
    assert changed - reached == pose
    assert bool(pose) == (task in {"pose", "depth"})


def test_task_mask_structure() -> None:
    mask = TaskMask(blocks=2, heads=3, head_size=8, grid=2, tasks=4)
    torch.nn.init.normal_(mask.patch_bias)
    m_task = mask((2, 2))
    assert m_task.shape == (2, 3, 8, 8)
    assert (m_task[..., :4, :4] == 0).all()
    assert (m_task[..., :4, 4:] == -torch.inf).all()
    assert torch.isfinite(m_task[..., 4:, :4]).all()
    assert torch.equal(torch.isfinite(m_task[0, 0, 4:, 4:]), torch.eye(4, dtype=torch.bool))


def test_config_and_refinement() -> None:
    for wrong, reason in (({"size": 100}, "multiple of 16"), ({"parts": 3}, "body parts")):
        with pytest.raises(ValueError, match=reason):
            PerceptionConfig(**wrong)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(Refinement(8).eval()(x), x), "a refinement is the identity at first"


def test_positions_keep_full_precision_under_autocast(net: PerceptionNet, images: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = net(images)
    assert all(getattr(output, item.name).dtype == torch.float32 for item in fields(output))
    positions = output.keypoints_2d
    assert not torch.equal(positions, positions.bfloat16().float())
