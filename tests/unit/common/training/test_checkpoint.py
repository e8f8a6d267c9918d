"""The averaged network and checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import nn

from common.errors import UsageError
from common.training.checkpoint import AveragedNetwork, load_checkpoint, save_checkpoint


def _moved(average: AveragedNetwork[nn.Linear]) -> float:
    """How far one update goes from a network of zeros towards one of ones."""
    source = nn.Linear(1, 1)
    nn.init.zeros_(average.network.weight)
    nn.init.ones_(source.weight)
    average.update(source)
    return float(average.network.weight)


def test_average_follows_quickly_at_first_and_slowly_later() -> None:
    average = AveragedNetwork(nn.Linear(1, 1), decay=0.99)
    assert _moved(average) > 0.5
    average.steps = 10_000
    assert _moved(average) == pytest.approx(0.01)


def test_average_resumes_from_its_state() -> None:
    first, second = (AveragedNetwork(nn.BatchNorm1d(2)) for _ in range(2))
    source = nn.BatchNorm1d(2)
    for _ in range(3):
        source(torch.randn(8, 2))
        first.update(source)
    second.load_state_dict(first.state_dict())
    assert second.steps == first.steps == 3
    state = first.network.state_dict()
    assert all(torch.equal(value, second.network.state_dict()[name]) for name, value in state.items())
    assert state["num_batches_tracked"] == 3
    assert not torch.equal(first.network.state_dict()["running_mean"], torch.zeros(2))


def test_saved_checkpoint_loads(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.pt"
    save_checkpoint(path, {"network": {"weight": torch.ones(2)}, "step": 3})
    state = load_checkpoint(path)
    assert state["step"] == 3
    assert torch.equal(state["network"]["weight"], torch.ones(2))
    assert list(path.parent.iterdir()) == [path]


def test_failed_save_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(AttributeError):
        save_checkpoint(path, {"step": lambda: 2})
    assert load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_truncated_or_missing_checkpoint_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(UsageError, match=r"cannot resume from .*run\.pt"):
        load_checkpoint(path)
    save_checkpoint(path, {"weight": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match=r"cannot resume from .*run\.pt"):
        load_checkpoint(path)
