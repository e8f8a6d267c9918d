"""Checkpoints: what comes back, and what is said of those that do not."""

from pathlib import Path

import pytest
import torch

from common.errors import OutputError, UsageError
from common.training.checkpoint import load_checkpoint, save_checkpoint


def test_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.pt"
    save_checkpoint(path, {"network": {"weight": torch.ones(2)}, "step": 3})
    state = load_checkpoint(path)
    assert state["step"] == 3
    assert torch.equal(state["network"]["weight"], torch.ones(2))
    assert list(path.parent.iterdir()) == [path]


def test_one_that_cannot_be_saved_leaves_the_last(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(AttributeError):
        save_checkpoint(path, {"step": lambda: 2})
    assert load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_torn_or_missing_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(UsageError, match=r"cannot resume from .*run\.pt"):
        load_checkpoint(path)
    save_checkpoint(path, {"weight": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match=r"cannot resume from .*run\.pt"):
        load_checkpoint(path)


def test_a_folder_that_is_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "taken" / "run.pt", {"step": 1})
