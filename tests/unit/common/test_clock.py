"""Clocks that are set, and times that go on where they were."""

import logging

import pytest

from common.clock import LONGEST_PAUSE_S, BridgedTimes, Clock, SteadyWall

T0 = 1_800_000_000.0


@pytest.mark.parametrize("set_s", [259_200.0, -259_200.0, 31_536_000.0, -5.0])
def test_steady_wall_goes_on_when_the_clock_is_set(set_s: float, caplog: pytest.LogCaptureFixture) -> None:
    now_s, ahead_s = 100.0, T0
    wall = SteadyWall(Clock(lambda: now_s, lambda: now_s + ahead_s))
    assert wall() == T0 + 100
    now_s, ahead_s = 101.5, T0 + set_s
    with caplog.at_level(logging.WARNING):
        assert wall() == T0 + 101.5
        now_s = 102.0
        assert wall() == T0 + 102.0
    (record,) = caplog.records
    assert f"clock was set by {set_s:+.0f} s" in record.getMessage()


@pytest.mark.parametrize("set_s", [259_200.0, -259_200.0, -0.5, LONGEST_PAUSE_S])
def test_bridged_times_go_on_at_the_last_step(set_s: float) -> None:
    times = BridgedTimes(1 / 30)
    told = [T0, T0 + 0.25, T0 + 0.5 + set_s, T0 + 0.75 + set_s]
    assert [times.following(each) for each in told] == pytest.approx([T0, T0 + 0.25, T0 + 0.5, T0 + 0.75], abs=1e-6)
    assert times.shift_s == pytest.approx(-set_s, abs=1e-6)


def test_bridged_times_keep_pauses_and_order() -> None:
    times = BridgedTimes(0.1)
    told = (5.0, 5.1, 5.05, 65.1, None)
    assert [times.following(each) for each in told] == pytest.approx([5.0, 5.1, 5.1, 65.1, 65.2])
    assert times.longest_step_s == pytest.approx(60.0) and times.shift_s == 0
    assert BridgedTimes(0.1).following(None) == 0.0
