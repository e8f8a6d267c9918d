"""Errors of joints, and rates at equal error."""

import numpy as np
import pytest

from common.labels import LABEL_SIZE, concatenate, split
from tests.bench.rivals.clips import Figures, PerceivedClip, held
from tests.bench.rivals.comparison import Comparison, equal_rate, equal_rates, ratio_bound
from tests.bench.rivals.systems import Result


def figures(size: float, error: float) -> Figures:
    return {"bytes_per_frame": size, "added_joint_error_mm": error, "mpjpe_mm": 80 + error}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    clip = [
        Result("bodywire", "fine", figures(40, 2.0)),
        Result("bodywire", "coarse", figures(20, 10.0)),
        Result("WEBP crops", "good", figures(160, 2.0)),
        Result("WEBP crops", "useless", figures(170, 3.0)),
        Result("WEBP crops", "bad", figures(80, 10.0)),
        Result("H.264 video", "CRF 20", figures(9000, 5.0)),
        Result("H.264 video", "CRF 40", figures(900, 9.0)),
    ]
    return Comparison.from_clips([clip, clip], [{"mpjpe_mm": 80.0}] * 2)


def test_rate_is_interpolated_in_its_logarithm_on_the_frontier() -> None:
    for curve, error, rate, bound in (
        ([(40.0, 8.0), (160.0, 4.0)], 6.0, 80.0, "none"),
        ([(1000.0, 2.0), (100.0, 6.0)], 3.0, 10**2.75, "none"),
        ([(1000.0, 2.0), (300.0, 4.0), (100.0, 6.0)], 4.0, 300.0, "none"),
        ([(5000.0, 3.6), (1000.0, 3.5), (100.0, 9.0)], 2.0, 1000.0, "at_least"),
        ([(5000.0, 3.0), (80.0, 9.0)], 12.0, 80.0, "at_most"),
    ):
        found, known = equal_rate(curve, error)
        assert found == pytest.approx(rate)
        assert known == bound


def test_ratio_to_ours_at_equal_error(comparison: Comparison) -> None:
    rates = equal_rates(comparison)
    at_3_mm = rates["added joint error 3 mm"]
    assert at_3_mm["WEBP crops"]["ratio"] == pytest.approx(4.0)
    assert (at_3_mm["WEBP crops"]["ratio_bound"], at_3_mm["H.264 video"]["ratio_bound"]) == ("none", "at_least")
    # 5 % of 80 mm are 4 mm: no video is as exact.
    assert rates["MPJPE within 5 %"]["H.264 video"]["bound"] == "at_least"
    for rival, ours, bound in (
        ("none", "none", "none"),
        ("none", "at_most", "at_least"),
        ("at_least", "at_most", "at_least"),
        ("at_least", "at_least", "unknown"),
    ):
        assert ratio_bound(rival, ours) == bound  # type: ignore[arg-type]


def test_errors_are_about_the_hips_and_without_frames_that_show_nobody() -> None:
    truth = np.random.default_rng(0).normal(0, 0.5, (4, 17, 3)).astype(np.float32)
    perceived = truth.copy()
    # The nose is 10 mm off in each direction.
    perceived[:, 0] += 0.01
    clip = PerceivedClip("", [], (), (), perceived, truth)
    found = perceived + np.float32(0.5)
    found[1] = np.nan
    assert clip.errors(found) == pytest.approx({"added_joint_error_mm": 0, "mpjpe_mm": 10 * 3**0.5 / 17}, abs=1e-3)


def test_who_is_not_found_keeps_the_last_labels() -> None:
    groups = split(np.arange(LABEL_SIZE, dtype=np.float32))
    rows = held([None, groups, None])
    assert np.isnan(rows[0]).all()
    assert (rows[1:] == concatenate(groups)).all()
