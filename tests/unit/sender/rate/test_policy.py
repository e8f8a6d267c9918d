import math

import pytest

from sender.congestion.capacity import Capacity
from sender.rate.policy import BudgetController, RateConfig, link_stress, rho_by_group


def test_link_stress_by_hand() -> None:
    for bandwidth_bps, delay_ms, f in (
        (1000e3, 10.0, 0.0),
        (50e3, 300.0, 1.0),
        (525e3, 10.0, 0.25),
        (1000e3, 155.0, 0.25),
        (287.5e3, 227.5, 0.75),
        (9e9, 0.0, 0.0),
        (0.0, 5000.0, 1.0),
    ):
        assert link_stress(bandwidth_bps, delay_ms) == pytest.approx(f), (bandwidth_bps, delay_ms)


def test_rho_by_hand_and_above_f_of_one_also_of_the_most_important_group() -> None:
    rho = rho_by_group({"root": 4.0, "hands": 1.0, "appearance": 0.0}, 0.5)
    assert rho == pytest.approx({"root": 0.0, "hands": 0.75 * 0.5, "appearance": 0.5})
    assert rho_by_group({"root": 4.0, "hands": 1.0}, 1.5) == pytest.approx({"root": 0.5, "hands": 1.0})


def test_rho_of_invalid_importance_is_refused() -> None:
    for importance in ({}, {"root": -1.0}, {"root": math.nan}):
        with pytest.raises(ValueError, match="importance"):
            rho_by_group(importance, 0.5)


def test_budget_when_link_was_never_full_reaches_the_best_quality() -> None:
    budget = BudgetController(initial_f=0.5)
    for number in range(100):
        budget.update(Capacity(72e3, False), 500e3, number * 33.0)
    assert budget.f == 0.0


def test_budget_converges_to_the_capacity() -> None:
    for capacity_bps in (60e3, 120e3, 400e3):
        budget, source_bps = BudgetController(initial_f=0.0), 0.0
        for number in range(2000):
            source_bps = 300e3 * math.exp(-1.5 * budget.f)
            budget.update(Capacity(capacity_bps, True), source_bps, number * 33.0)
        assert source_bps == pytest.approx(min(0.8 * capacity_bps, 300e3), rel=0.02)


def test_budget_rises_faster_than_it_falls() -> None:
    rising, falling = BudgetController(initial_f=1.0), BudgetController(initial_f=1.0)
    for now_ms in (0.0, 100.0):
        rising.update(Capacity(100e3, True), 1e6, now_ms)
        falling.update(Capacity(1e6, True), 10e3, now_ms)
    assert rising.f - 1.0 > 5 * (1.0 - falling.f) > 0


def test_budget_limits_the_step_after_a_gap() -> None:
    budget = BudgetController(initial_f=1.0)
    budget.update(Capacity(None, False), 1e6, 0.0)
    budget.update(Capacity(None, False), 1e6, 60_000.0)
    assert budget.f > 0.9


def test_config_out_of_range() -> None:
    with pytest.raises(ValueError, match="fixed_f"):
        RateConfig(fixed_f=1.5)
