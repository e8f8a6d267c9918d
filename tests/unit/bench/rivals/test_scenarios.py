"""The paper's scenarios, computed from sizes and times."""

import pytest

from tests.bench.rivals.bodies import Figures
from tests.bench.rivals.comparison import Comparison
from tests.bench.rivals.scenarios import (
    DELAY_MS,
    FRAMES,
    IMAGES,
    WITHOUT,
    Link,
    StageTimes,
    Way,
    passage_ms,
    scenario_a,
    scenario_b,
)
from tests.bench.rivals.systems import OURS, Result

TIMES = StageTimes(perceive_ms=20.0, reconstruct_ms=30.0, encode_ms=1.0, decode_ms=1.0)


def figures(size: float, error: float, **more: float) -> Figures:
    return {
        "bytes_per_frame": size,
        "added_joint_error_mm": error,
        "added_chamfer_mm": error / 2,
        "mpjpe_mm": 80 + error,
        "encode_ms": 2.0,
        "decode_ms": 3.0,
        **more,
    }


@pytest.fixture
def comparison() -> Comparison:
    clip = [
        Result("bodywire", "fine", (100, 50), figures(75, 1.0)),
        Result("bodywire", "coarse", (60, 10), figures(35, 7.0)),
        Result("JPEG crops", "good", (3000, 3000), figures(3000, 3.0, perceive_ms=15.0)),
        Result("JPEG crops", "bad", (400, 400), figures(400, 30.0, perceive_ms=15.0)),
        Result("Draco", "11 bits", (9000, 9000), figures(9000, 1.0)),
    ]
    return Comparison.of([clip], [{"mpjpe_mm": 80.0}])


def test_wire_bytes_count_every_packets_headers() -> None:
    link = Link(100.0, 30.0)
    assert link.wire_bytes(50) == 50 + 30 + 9 + 22 + 52
    assert link.wire_bytes(3000) == 3000 + 30 + 9 + 22 + 3 * 52
    assert link.ms(50) == pytest.approx(163 * 8 / 100)


def test_slowest_stage_sets_the_pace() -> None:
    link = Link(8.0, 0.0)
    transfer_ms = link.ms(17)
    assert transfer_ms == pytest.approx(100.0)
    done = passage_ms(Way(10.0, 20.0, [17]), [0.0] * 5, link)
    assert done[0] == pytest.approx(10 + 100 + DELAY_MS + 20)
    assert done[4] - done[0] == pytest.approx(4 * 100)


def test_frames_do_not_start_before_they_are_captured() -> None:
    done = passage_ms(Way(1.0, 1.0, [10]), [0.0, 500.0], Link(1000.0, 0.0))
    assert done[1] - done[0] == pytest.approx(500.0)


def test_scenario_a_compares_equal_reconstructions(comparison: Comparison) -> None:
    rows = {(row["system"], row["models"]): row for row in scenario_a(comparison, TIMES, 30.0)}
    assert {system for system, _ in rows} == {OURS, WITHOUT, IMAGES}
    # 30 mm are more than 5 % of 80 mm.
    assert rows[IMAGES, 1]["setting"] == "good"
    for system in (OURS, WITHOUT, IMAGES):
        totals = [float(rows[system, models]["total_s"] or 0) for models in (1, 2, 4, 8, 16, 32, 64)]
        assert totals == sorted(totals)
    assert float(rows[OURS, 64]["total_s"] or 0) < float(rows[WITHOUT, 64]["total_s"] or 0)


def test_scenario_b_takes_the_best_setting_that_fits(comparison: Comparison) -> None:
    rows = {(row["system"], row["kbps"]): row for row in scenario_b(comparison, TIMES, 30.0)}
    assert rows[OURS, 400.0]["setting"] == "fine"
    assert rows[OURS, 40.0]["setting"] == "coarse"
    assert rows[IMAGES, 150.0]["setting"] == "bad"
    assert rows[IMAGES, 10.0]["fits"] is False
    thin = rows[IMAGES, 10.0]
    assert float(thin["live_fps"] or 0) < 3
    assert float(thin["link_s"] or 0) == pytest.approx(FRAMES * 513 * 8 / 10 / 1e3)
    assert float(thin["total_s"] or 0) > float(thin["link_s"] or 0)
