import pytest
import torch

from receiver.train.progress import AVERAGE_EVERY, TrainingClock, follow


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
