"""Packets of rendered people, and what the receiver's training makes of them."""

from pathlib import Path

import pytest
import torch

from common.synthetic.motion.windows import write_windows
from receiver.train.motion_errors import Errors, received_labels
from sender.train import perceived_motion
from tests.support.motion.made_motion import gliding


@pytest.mark.slow
def test_packets_are_of_the_people_that_the_truth_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceived_motion, "_FRAMES", 5)
    write_windows([gliding("cmu/013_18", 20, 0.5)], tmp_path / "windows", 30)
    out = tmp_path / "perceived" / "train.npz"
    flags = ["--windows", str(tmp_path / "windows"), "--count", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["perceived_motion", *flags])
    perceived_motion.main()
    changes = Errors.of(*received_labels(out)).changes
    assert changes.shape == (2, 4, 67) and torch.isfinite(changes).all()
    assert changes[..., -3:].norm(dim=-1).max() < 0.8, "metres"
    assert 0.0 < changes[..., :-6].abs().mean() < 1.0, "standard deviations"
