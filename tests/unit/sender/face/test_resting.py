"""Resting levels of readings."""

import numpy as np
import pytest

from sender.face.actions import RestingLevels


def test_levels_take_little_memory_and_forget() -> None:
    levels = RestingLevels(np.full(52, 0.3), np.full(52, 0.08), 0.3)
    readings = np.zeros(52, np.float32)
    for smile in (0.3, 0.0):
        readings[7] = smile
        for _ in range(120 * 10):
            levels.learn(readings, 0.1)
        assert levels.levels[7] == pytest.approx(smile, abs=0.03)
    assert levels._seconds.size < 10_000
    np.testing.assert_allclose(levels._seconds.sum(axis=1), 60, rtol=0.05)


@pytest.mark.parametrize("quantile", [0.3, 0.5])
def test_quantile_of_strangers_is_0(quantile: float) -> None:
    np.testing.assert_allclose(RestingLevels(np.full(2, quantile), np.full(2, 0.1), 0.3).levels, 0, atol=0.01)
