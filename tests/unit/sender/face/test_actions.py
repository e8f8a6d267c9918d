"""Resting levels of readings."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from sender.face.actions import Lids, RestingLevels, lids_of_still


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


FPS = 30


def followed(closed: Float64Array, lids: Lids | None = None, *, yaw: float = 0.0, fps: float = FPS) -> FloatArray:
    """(N, 2) activations for readings (N,) of both eyes or (N, 2)."""
    lids, rotation = lids or Lids(), turned(yaw)
    each = np.broadcast_to(closed.T, (2, len(closed))).T.astype(np.float32)
    return np.stack([lids.follow(row, rotation, 1 / fps) for row in each])


def turned(yaw: float) -> FloatArray:
    return np.asarray(Rotation.from_euler("y", yaw).as_matrix(), np.float32)


def test_blink_of_eyes_that_look_up_is_found() -> None:
    """From wide open to what is half closed for others."""
    found = followed(np.repeat([0.0, -0.35, 0.2, 0.0], [60, 12, 3, 10]))
    assert found[72:75].max() > 0.5
    assert found[76:].max() < 0.4 and found[-1].max() < 0.1


def test_jitter_does_not_blink_and_small_blinks_pass_where_there_is_little() -> None:
    rng = np.random.default_rng(0)
    assert followed(rng.normal(0, 0.1, 60 * FPS))[FPS:].mean(axis=1).max() < 0.4
    closed = rng.normal(0, 0.02, 20 * FPS)
    closed[-3:] += 0.3
    assert followed(closed)[-3:].max() > 0.5


def test_long_closing_stays_closed() -> None:
    found = followed(np.repeat([0.0, 0.8], [10 * FPS, 8 * FPS]))
    assert found[-1].min() > 0.9


def test_who_comes_with_narrow_eyes_does_not_blink() -> None:
    assert followed(np.full(FPS, 0.55)).max() < 0.3
    np.testing.assert_allclose(lids_of_still(np.full(2, 0.55, np.float32), turned(0.0)), 0.55, atol=0.01)


def test_wink_is_of_one_eye() -> None:
    closed = np.zeros((FPS + 4, 2))
    closed[FPS:, 0] = 0.8
    left, right = followed(closed)[-1]
    assert left > 0.9 and right < 0.1


def test_hidden_eye_follows_the_other() -> None:
    closed = np.zeros((FPS + 4, 2))
    closed[FPS:, 0] = 0.5
    near, far = followed(closed, yaw=0.6)[-1], followed(closed, yaw=-0.6)[-1]
    np.testing.assert_allclose(near, near[0])
    assert near.min() > 0.9 and far.max() < 0.05


@pytest.mark.parametrize("fps", [30, 60, 120])
def test_lids_follow_as_fast_at_any_frame_rate(fps: int) -> None:
    closed = np.tile([-0.05, 0.05], 2 * fps)
    closed[-fps // 10 :] += 0.35
    assert 0.35 < followed(closed, fps=fps)[-1].mean() < 0.6
