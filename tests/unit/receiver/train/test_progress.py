import pytest

from receiver.train.progress import TrainingClock


def test_clock_counts_what_earlier_runs_used() -> None:
    assert TrainingClock(minutes=1.0, spent_s=60.0).share() == 1.0
    assert TrainingClock(minutes=10.0, spent_s=60.0).share() == pytest.approx(0.1, abs=0.01)
