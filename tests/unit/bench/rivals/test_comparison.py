"""Rates at equal error and the lines of the summary."""

import pytest

from tests.bench.rivals.comparison import Comparison, equal_rates, ratio_bound, summary
from tests.bench.rivals.systems import Result


def result(family: str, setting: str, size: int, error: float) -> Result:
    figures = {"bytes_per_frame": float(size), "added_joint_error_mm": error, "mpjpe_mm": 80 + error}
    return Result(family, setting, (size, size), figures)


@pytest.fixture
def comparison() -> Comparison:
    clip = [
        result("bodywire", "fine", 40, 2.0),
        result("bodywire", "coarse", 20, 10.0),
        result("delta + zstd", "16 bits", 160, 2.0),
        result("delta + zstd", "8 bits", 80, 10.0),
        result("H.264 video", "CRF 20", 9000, 5.0),
        result("H.264 video", "CRF 40", 900, 9.0),
    ]
    return Comparison.of([clip, clip], [{"mpjpe_mm": 80.0}] * 2)


def test_ratio_at_equal_error_is_interpolated(comparison: Comparison) -> None:
    rates = equal_rates(comparison)["added joint error 3 mm"]
    assert rates["delta + zstd"]["ratio"] == pytest.approx(4.0)
    assert rates["delta + zstd"]["ratio_bound"] == "none"


def test_system_that_does_not_reach_the_error_is_a_bound(comparison: Comparison) -> None:
    rates = equal_rates(comparison)
    assert rates["added joint error 3 mm"]["H.264 video"]["ratio_bound"] == "at_least"
    assert rates["added joint error 8 mm"]["H.264 video"]["ratio_bound"] == "none"
    # 5 % of 80 mm are 4 mm: no video is as exact.
    assert rates["MPJPE within 5 %"]["H.264 video"]["bound"] == "at_least"


def test_summary_names_goals_and_what_did_not_run(comparison: Comparison) -> None:
    lines = summary(equal_rates(comparison))
    assert "bodywire, added joint error 8 mm: 23.8 bytes a frame" in lines
    assert "delta + zstd, added joint error 3 mm: 4× the bytes of bodywire (wanted: ≥ 3×)" in lines
    assert "Draco, added joint error 8 mm: not run" in lines
    assert any(line.startswith("best video, added joint error 3 mm: at least") for line in lines)


def test_bounds_of_a_ratio() -> None:
    assert ratio_bound("none", "none") == "none"
    assert ratio_bound("at_least", "none") == "at_least"
    assert ratio_bound("none", "at_most") == "at_least"
    assert ratio_bound("at_least", "at_most") == "at_least"
    assert ratio_bound("at_least", "at_least") == "unknown"
