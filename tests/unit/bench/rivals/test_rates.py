"""Rates at equal error, and the scenarios that are computed from them."""

import pytest

from tests.bench.rivals.bodies import Figures
from tests.bench.rivals.comparison import Comparison, EqualRate, equal_rate, equal_rates, frontier, ratio_bound
from tests.bench.rivals.scenarios import (
    DELAY_MS,
    FRAMES,
    IMAGES,
    MODELS,
    WITHOUT,
    Link,
    StageTimes,
    Way,
    passage_ms,
    scenario_a,
    scenario_b,
)
from tests.bench.rivals.systems import OURS, Result

TIMES = StageTimes(perceive_ms=20.0, reconstruct_ms=30.0)


def figures(size: float, error: float, **more: float) -> Figures:
    errors = {"added_joint_error_mm": error, "added_chamfer_mm": error / 2, "mpjpe_mm": 80 + error}
    return {"bytes_per_frame": size, **errors, "encode_ms": 2.0, "decode_ms": 3.0, **more}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    clip = [
        Result("bodywire", "fine", (100, 50), figures(40, 2.0)),
        Result("bodywire", "coarse", (60, 10), figures(20, 10.0)),
        Result("raw numbers + zstd", "16 bits", (160, 160), figures(160, 2.0)),
        Result("raw numbers + zstd", "12 bits", (170, 170), figures(170, 3.0)),
        Result("raw numbers + zstd", "8 bits", (80, 80), figures(80, 10.0)),
        Result("H.264 video", "CRF 20", (9000, 9000), figures(9000, 5.0, perceive_ms=15.0)),
        Result("H.264 video", "CRF 40", (900, 900), figures(900, 9.0, perceive_ms=15.0)),
        Result("JPEG crops", "good", (3000, 3000), figures(3000, 3.0, perceive_ms=15.0)),
        Result("JPEG crops", "bad", (400, 400), figures(400, 30.0, perceive_ms=15.0)),
        Result("Draco", "11 bits", (9000, 9000), figures(9000, 1.0)),
    ]
    return Comparison.from_clips([clip, clip], [{"mpjpe_mm": 80.0}] * 2)


def test_rate_is_interpolated_in_its_logarithm() -> None:
    assert frontier([(400, 3.0), (100, 9.0), (200, 4.0), (300, 5.0)]) == [(100, 9.0), (200, 4.0), (400, 3.0)]
    large, small = [(1000.0, 2.0), (100.0, 6.0)], [(40.0, 8.0), (160.0, 4.0)]
    for curve, error, rate, bound in (
        (small, 6.0, 80.0, "none"),
        (large, 3.0, 10**2.75, "none"),
        ([(1000.0, 2.0), (300.0, 4.0), (100.0, 6.0)], 4.0, 300.0, "none"),
        ([(5000.0, 3.6), (1000.0, 3.5), (100.0, 9.0)], 2.0, 1000.0, "at_least"),
        ([(5000.0, 3.0), (80.0, 9.0)], 12.0, 80.0, "at_most"),
    ):
        found = equal_rate(curve, error)
        assert found.frame_bytes == pytest.approx(rate)
        assert found.bound == bound
    assert equal_rate(small, 1.0) == EqualRate(160.0, "at_least")


def test_ratio_to_ours_at_equal_error(comparison: Comparison) -> None:
    rates = equal_rates(comparison)
    at_3_mm = rates["added joint error 3 mm"]
    assert at_3_mm["raw numbers + zstd"]["ratio"] == pytest.approx(4.0)
    assert (at_3_mm["raw numbers + zstd"]["ratio_bound"], at_3_mm["H.264 video"]["ratio_bound"]) == ("none", "at_least")
    # 5 % of 80 mm are 4 mm: no video is as exact.
    assert rates["MPJPE within 5 %"]["H.264 video"]["bound"] == "at_least"
    for rival, ours, bound in (
        ("none", "none", "none"),
        ("none", "at_most", "at_least"),
        ("at_least", "at_most", "at_least"),
        ("at_least", "at_least", "unknown"),
    ):
        assert ratio_bound(rival, ours) == bound  # type: ignore[arg-type]


def test_link_counts_every_packets_headers() -> None:
    link = Link(100.0, 30.0)
    assert link.wire_bytes(50) == 50 + 30 + 9 + 22 + 52
    assert link.wire_bytes(3000) == 3000 + 30 + 9 + 22 + 3 * 52
    assert link.ms(50) == pytest.approx(163 * 8 / 100)


def test_slowest_stage_sets_the_pace_and_no_frame_starts_before_its_capture() -> None:
    done = passage_ms(Way(10.0, 20.0, [17]), [0.0] * 5, Link(8.0, 0.0))
    assert done[0] == pytest.approx(10 + 100 + DELAY_MS + 20)
    assert done[4] - done[0] == pytest.approx(4 * 100)
    first, second = passage_ms(Way(1.0, 1.0, [10]), [0.0, 500.0], Link(1000.0, 0.0))
    assert second - first == pytest.approx(500.0)


def test_scenario_a_compares_equal_reconstructions(comparison: Comparison) -> None:
    rows = {(row["system"], row["models"]): row for row in scenario_a(comparison, TIMES, 30.0)}
    assert {system for system, _ in rows} == {OURS, WITHOUT, IMAGES}
    # 30 mm are more than 5 % of 80 mm.
    assert rows[IMAGES, 1]["setting"] == "good"
    for system in (OURS, WITHOUT, IMAGES):
        totals, links = ([float(rows[system, count][key] or 0) for count in MODELS] for key in ("total_s", "link_s"))
        assert totals == sorted(totals)
        assert all(link < total for link, total in zip(links, totals, strict=True))
    assert float(rows[OURS, 64]["total_s"] or 0) < float(rows[WITHOUT, 64]["total_s"] or 0)
    assert rows[IMAGES, 64]["link_s"] == pytest.approx(64 * Link(1000.0, 30.0).ms(3000) / 1e3)


def test_scenario_b_takes_the_best_setting_that_fits(comparison: Comparison) -> None:
    rows = {(row["system"], row["kbps"]): row for row in scenario_b(comparison, TIMES, 30.0)}
    assert (rows[OURS, 400.0]["setting"], rows[OURS, 40.0]["setting"]) == ("fine", "coarse")
    assert rows[IMAGES, 150.0]["setting"] == "bad"
    thin = rows[IMAGES, 10.0]
    assert thin["fits"] is False
    assert float(thin["live_fps"] or 0) < 3
    assert float(thin["link_s"] or 0) == pytest.approx(FRAMES * 513 * 8 / 10 / 1e3)
    assert float(thin["total_s"] or 0) > float(thin["link_s"] or 0)
