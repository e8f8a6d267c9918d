import pytest

from common.io.recent import RecentRate


def test_rate_of_the_window() -> None:
    rate = RecentRate(window_s=2.0)
    for tenth in range(100):
        rate.add(3.0, tenth / 10)
    assert rate.per_second(9.9) == pytest.approx(30.0, rel=0.06)
    assert rate.mean(9.9) == 3.0
