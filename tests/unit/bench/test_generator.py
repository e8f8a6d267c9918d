"""Figures of the generator bench from keypoint errors."""

import numpy as np
import pytest

from tests.bench.generator import change, pck


def test_pck_averages_over_keypoints() -> None:
    assert pck([np.array([0.01, 0.07, 0.3]), np.array([0.15])]) == {"pck05": 0.25, "pck10": 0.5, "pck20": 0.75}


def test_change_against_itself_is_zero() -> None:
    errors = [np.array([0.1, 0.3]), np.array([0.15])]
    assert change(errors, errors) == {"change_pck20": 0.0, "standard_error_pck20": 0.0}


def test_standard_error_of_change_is_over_people() -> None:
    rng = np.random.default_rng(0)
    whole = [rng.uniform(0, 0.1, 4) for _ in range(50)]
    worse = [errors + (0.2 if index < 10 else 0.0) for index, errors in enumerate(whole)]
    found = change(worse, whole)
    assert found["change_pck20"] == pytest.approx(-0.2)
    assert found["standard_error_pck20"] == pytest.approx((0.2 * 0.8 / 50) ** 0.5, rel=0.1)
