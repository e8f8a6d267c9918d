"""Rates at equal error."""

import pytest

from tests.bench.equal_rate import EqualRate, equal_rate, frontier


def assert_rate(rate: EqualRate, frame_bytes: float) -> None:
    assert rate.frame_bytes == pytest.approx(frame_bytes)
    assert rate.bound == "none"


def test_frontier_drops_settings_that_a_cheaper_one_beats() -> None:
    assert frontier([(400, 3.0), (100, 9.0), (200, 4.0), (300, 5.0)]) == [(100, 9.0), (200, 4.0), (400, 3.0)]


def test_rate_is_interpolated_in_its_logarithm_on_the_cheapest_scale() -> None:
    large, small = [(1000.0, 2.0), (100.0, 6.0)], [(40.0, 8.0), (160.0, 4.0)]
    assert_rate(equal_rate([large, small], 6.0), 80.0)
    # Only the larger scale reaches 3 mm.
    assert_rate(equal_rate([large, small], 3.0), 10**2.75)


def test_rate_of_a_measured_setting_is_its_own() -> None:
    assert equal_rate([[(1000.0, 2.0), (300.0, 4.0), (100.0, 6.0)]], 4.0).frame_bytes == pytest.approx(300)


def test_error_that_no_setting_reaches_gives_a_lower_bound() -> None:
    curves = [[(5000.0, 3.6), (1000.0, 3.5), (100.0, 9.0)], [(300.0, 5.0), (50.0, 10.0)]]
    assert equal_rate(curves, 2.0) == EqualRate(1000.0, "at_least")


def test_error_that_the_cheapest_setting_has_gives_an_upper_bound() -> None:
    assert equal_rate([[(5000.0, 3.0), (100.0, 9.0)], [(80.0, 10.0)]], 12.0) == EqualRate(80.0, "at_most")
