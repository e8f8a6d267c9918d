import math

import pytest

from sender.rate.policy import RateConfig, link_stress, rho_by_group


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


def test_config_out_of_range() -> None:
    with pytest.raises(ValueError, match="fixed_f"):
        RateConfig(fixed_f=1.5)
