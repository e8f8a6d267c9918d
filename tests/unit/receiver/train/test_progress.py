from pathlib import Path

import pytest
import torch

from receiver.train.progress import AVERAGE_EVERY, TrainingClock, cosine_rate, follow, load_checkpoint, save_checkpoint


def test_cosine_rate_rises_then_falls() -> None:
    rates = [cosine_rate(1.0, share) for share in (0.0, 0.01, 0.02, 0.5, 1.0)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(1.0)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.01)


def test_clock_counts_what_earlier_runs_used() -> None:
    assert TrainingClock(minutes=1.0, spent_s=60.0).share() == 1.0
    assert TrainingClock(minutes=10.0, spent_s=60.0).share() == pytest.approx(0.1, abs=0.01)


def test_average_follows_the_weights_quickly_at_first_and_slowly_later() -> None:
    average, current = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    moved = []
    for step in (AVERAGE_EVERY, 10_000 * AVERAGE_EVERY):
        torch.nn.init.zeros_(average.weight)
        torch.nn.init.ones_(current.weight)
        follow(average, current, step)
        moved.append(float(average.weight.detach()))
    assert moved[0] > 0.5 and moved[1] == pytest.approx(0.01)


def test_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.pt"
    save_checkpoint(path, {"network": {"weight": torch.ones(2)}, "step": 3})
    state = load_checkpoint(path)
    assert state["step"] == 3 and torch.equal(state["network"]["weight"], torch.ones(2))
    assert not path.with_suffix(".part").exists()
