"""The optimiser."""

import pytest
import torch
from torch import nn

from common.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalised(matrix))
    assert orthogonalised(matrix).shape == shape
    assert float(singular.min()) > 0.5 and float(singular.max()) < 1.5


def test_singular_vectors_are_kept() -> None:
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    difference = orthogonalised(matrix) - left @ right
    assert float(difference.norm() / (left @ right).norm()) < 0.4


def test_update_has_the_root_mean_square_of_adamw_in_every_shape() -> None:
    for shape in ((32, 16, 3, 3), (16, 64, 1, 1)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        Muon([weight], [], lr=1e-2).step()
        assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 1e-2, rel=0.35)


def test_both_groups_find_a_minimum() -> None:
    torch.manual_seed(0)
    target, inputs = torch.randn(5, 7), torch.randn(64, 7)
    layer = nn.Linear(7, 5)
    optimiser = Muon([layer.weight], [layer.bias], lr=0.2)
    for step in range(200):
        for group in optimiser.param_groups:
            group["lr"] = 0.2 * (1 - step / 200)
        loss = (layer(inputs) - inputs @ target.T - 1.0).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1e-3


def test_resumed_optimiser_continues_as_if_never_stopped() -> None:
    def trained(stopped: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer, inputs = nn.Linear(6, 6), torch.randn(16, 6)
        optimiser = Muon([layer.weight], [layer.bias], lr=0.01)
        for step in range(6):
            if stopped and step == 3:
                state = optimiser.state_dict()
                optimiser = Muon([layer.weight], [layer.bias], lr=0.01)
                optimiser.load_state_dict(state)
            optimiser.zero_grad()
            layer(inputs).square().mean().backward()
            optimiser.step()
        return layer.weight.detach()

    assert torch.equal(trained(stopped=False), trained(stopped=True))
