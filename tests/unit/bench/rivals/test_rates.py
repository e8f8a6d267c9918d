"""Errors of bodies, and rates at equal error."""

import numpy as np
import pytest

from common.labels import LABEL_SIZE, group_slices
from tests.bench.rivals.bodies import Bodies, Figures, Posed, Reference
from tests.bench.rivals.comparison import (
    Comparison,
    EqualRate,
    both_ways_bytes,
    equal_rate,
    equal_rates,
    frontier,
    ratio_bound,
    to_receiver_bytes,
)
from tests.bench.rivals.scenarios import Link
from tests.bench.rivals.systems import Result


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


def test_every_system_is_counted_on_the_link_by_one_rule(comparison: Comparison) -> None:
    assert (to_receiver_bytes(15), both_ways_bytes(15)) == (67, 80)
    assert (to_receiver_bytes(3000), both_ways_bytes(3000)) == (3000 + 3 * 52, 3000 + 3 * 65)
    assert Link(100.0).ms(50) == pytest.approx(102 * 8 / 100)
    numbers = equal_rates(comparison)["added joint error 3 mm"]["raw numbers + zstd"]
    ours = float(numbers["bytes_per_frame"] or 0) / float(numbers["ratio"] or 0)
    assert numbers["link_ratio"] == pytest.approx((160 + 65) / (ours + 65), rel=0.1)


def test_errors_are_of_joints_and_skin_without_position_and_without_frames_that_show_nobody() -> None:
    bodies = Bodies()
    rows = np.random.default_rng(0).normal(0, 0.5, (4, LABEL_SIZE)).astype(np.float32)
    rows[:, group_slices()["root"]] = [1 / 0.6, 0, 0, 0, 1 / 0.6, 0, 0, 0, 0]
    # The nose is 10 mm off in each direction.
    truth = bodies.pose(bodies.parameters(rows)).joints.copy()
    truth[:, 0] += 0.01
    reference = Reference(bodies, rows, truth)
    posed = reference.posed
    exact = reference.errors(posed)
    assert (exact["added_joint_error_mm"], exact["added_chamfer_mm"]) == pytest.approx((0, 0), abs=0.01)
    assert exact["mpjpe_mm"] == pytest.approx(10 * 3**0.5 / 17, rel=1e-3)
    joints = posed.joints + np.float32(0.5)
    joints[1] = np.nan
    moved = Posed(joints, posed.skins + np.float32(0.5))
    assert reference.errors(moved)["added_joint_error_mm"] == pytest.approx(0, abs=1e-3)
    noise = np.random.default_rng(1).normal(0, 0.02, posed.skins.shape).astype(np.float32)
    rough = reference.mesh_errors(posed.skins + noise)
    assert reference.mesh_errors(posed.skins)["mpjpe_mm"] == pytest.approx(exact["mpjpe_mm"])
    assert rough["added_joint_error_mm"] > 0.1 and rough["added_chamfer_mm"] > 1
