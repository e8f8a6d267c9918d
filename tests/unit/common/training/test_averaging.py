"""The averaged network follows the one in training."""

import pytest
import torch
from torch import nn

from common.training.averaging import AveragedNetwork, blend


def _moved(average: AveragedNetwork[nn.Linear]) -> float:
    """How far one update goes from a network of zeros towards one of ones."""
    source = nn.Linear(1, 1)
    nn.init.zeros_(average.network.weight)
    nn.init.ones_(source.weight)
    average.update(source)
    return float(average.network.weight)


def test_follows_quickly_at_first_and_slowly_later() -> None:
    average = AveragedNetwork(nn.Linear(1, 1), decay=0.99)
    assert _moved(average) > 0.5
    average.steps = 10_000
    assert _moved(average) == pytest.approx(0.01)


def test_goes_on_from_its_state() -> None:
    first, second = (AveragedNetwork(nn.BatchNorm1d(2)) for _ in range(2))
    source = nn.BatchNorm1d(2)
    for _ in range(3):
        source(torch.randn(8, 2))
        first.update(source)
    second.load_state_dict(first.state_dict())
    assert second.steps == first.steps == 3
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.network.state_dict()["running_mean"], torch.zeros(2))


def test_is_not_trained_itself() -> None:
    average = AveragedNetwork(nn.Linear(2, 2))
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_blends_weights_and_buffers(share: float) -> None:
    first, second = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(second.weight, 5.0)
    second.running_mean = torch.tensor([4.0, 8.0])
    second.num_batches_tracked = torch.tensor(7)
    blend(first, second.state_dict(), share)
    assert first.weight.tolist() == pytest.approx([1 + 4 * share] * 2)
    assert first.state_dict()["running_mean"].tolist() == pytest.approx([4 * share, 8 * share])
    assert first.state_dict()["num_batches_tracked"] == 7
