"""Muon for convolutions, AdamW for the rest."""

import pytest
import torch
from torch import nn

from common.training.recipe import ConvolutionMuon, muon_and_adamw


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_update_of_a_convolution_is_that_of_its_matrix(memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 6, 3, 3).contiguous(memory_format=memory))
    matrix = nn.Parameter(weight.detach().flatten(1).clone())
    ours = ConvolutionMuon([weight], lr=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    before = weight.detach().clone()
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        matrix.grad = weight.grad.flatten(1).clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(weight.flatten(1), matrix)
    assert 0.02 < float((weight.detach() - before).square().mean().sqrt()) < 0.08


def test_wide_convolutions_get_muon_and_every_weight_is_optimised_once() -> None:
    network = nn.ModuleDict(
        {
            "first": nn.Conv2d(3, 64, 3),
            "wide": nn.Conv2d(64, 48, 3),
            "modulation": nn.Conv2d(64, 64, 1),
            "up": nn.ConvTranspose2d(48, 64, 2),
        }
    )
    matrices, others = muon_and_adamw(network, 1e-3, (nn.Conv2d,))
    assert isinstance(matrices, ConvolutionMuon)
    assert [one.shape for one in matrices.param_groups[0]["params"]] == [(48, 64 * 9)]
    assert len(others.param_groups[0]["params"]) == 7
    (alone,) = muon_and_adamw(nn.Conv2d(3, 4, 1), 1e-3)
    assert isinstance(alone, torch.optim.AdamW)
