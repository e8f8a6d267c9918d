"""Figures of the bench on the H.264 rate of equal reconstructions."""

import numpy as np
import pytest

from tests.bench.equal_rate import EqualRate
from tests.bench.video_equivalent import (
    BODYWIRE,
    CRFS,
    Received,
    Setting,
    equal_rates,
    figures,
    held,
    settings,
    summary,
)

TRUTH = np.random.default_rng(0).normal(0, 0.3, (10, 17, 3))
SHIFT = np.array([0.003, 0.0, 0.004])


def assert_rate(rate: EqualRate, frame_bytes: float) -> None:
    assert rate.frame_bytes == pytest.approx(frame_bytes)
    assert rate.bound == "none"


def test_figures_of_a_shifted_person() -> None:
    found = figures(Received((100, 20) * 5, TRUTH + 2 * SHIFT), TRUTH + SHIFT, TRUTH)
    assert found == pytest.approx(
        {"bytes": 60, "kbps": 60 * 8 * 30 / 1000, "added_joint_error_mm": 5, "mpjpe_mm": 10, "seen": 1}
    )


def test_frame_without_a_person_keeps_the_last_one() -> None:
    joints = TRUTH.copy()
    joints[[0, 4, 5]] = np.nan
    kept = held(joints)
    assert np.isnan(kept[0]).all()
    np.testing.assert_array_equal(kept[[4, 5, 6]], TRUTH[[3, 3, 6]])


def test_frames_before_the_first_person_are_no_error_but_not_seen() -> None:
    joints = TRUTH.copy()
    joints[:4] = np.nan
    found = figures(Received((), joints), TRUTH, TRUTH)
    assert found["added_joint_error_mm"] == pytest.approx(0)
    assert found["seen"] == pytest.approx(0.6)
    assert np.isnan(found["bytes"])


def test_rates_of_one_clip_by_all_criteria() -> None:
    video = [Setting(1, 10), Setting(1, 20)]
    systems = {
        BODYWIRE: {"mpjpe_mm": 70.0, "added_joint_error_mm": 2.0},
        str(video[0]): {"bytes": 800.0, "mpjpe_mm": 70.0, "added_joint_error_mm": 2.0},
        str(video[1]): {"bytes": 200.0, "mpjpe_mm": 77.0, "added_joint_error_mm": 9.0},
    }
    rates = equal_rates(systems, video)
    assert_rate(rates["MPJPE within 5 %"], 400)
    assert_rate(rates["MPJPE within 1 %"], 800 / 4**0.1)
    assert_rate(rates["equal added error"], 800)


def test_summary_scales_to_720p_by_pixels() -> None:
    found = summary([EqualRate(300.0), EqualRate(500.0, "at_least"), EqualRate(400.0, "at_most")])
    assert found["kbps"] == pytest.approx(400 * 8 * 30 / 1000)
    assert found["kbps_standard_error"] == pytest.approx(100 / 3**0.5 * 8 * 30 / 1000)
    assert found["kbps_720p30"] == pytest.approx(3 * found["kbps"])
    assert found["bits_per_pixel"] == pytest.approx(3200 / (640 * 480))
    assert (found["at_least_clips"], found["at_most_clips"]) == (1, 1)


def test_quick_settings_cover_every_scale() -> None:
    quick = settings(quick=True)
    assert {setting.scale for setting in quick} == set(CRFS)
    assert set(quick) < set(settings(quick=False))
