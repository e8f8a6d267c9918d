"""Figures of people in a video."""

import numpy as np
import pytest

from common.arrays import FloatArray
from tests.bench.video_figures import Published, arm_lag, rests, tallest, video_figures


def person(height: float, x: float = 0.0) -> FloatArray:
    """Keypoints (17, 2) of a person of a height in pixels."""
    return np.stack([np.full(17, x), np.linspace(0, height, 17)], axis=1).astype(np.float32)


def waving(frame: int) -> FloatArray:
    keypoints = person(200)
    keypoints[7:11, 0] += 40 * np.sin(frame / 3)
    return keypoints


def seen(keypoints: dict[int, FloatArray], perceived: dict[int, FloatArray] | None = None) -> Published:
    joints = {identity: np.zeros((17, 3), np.float32) for identity in keypoints}
    return Published(keypoints, joints, keypoints if perceived is None else perceived)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_lag_of_arms(lag: int) -> None:
    frames = [seen({0: waving(frame - lag)}, {0: waving(frame)}) for frame in range(60)]
    assert arm_lag(frames) == lag


def test_short_or_empty_video_has_no_lag() -> None:
    assert np.isnan(arm_lag([seen({0: waving(frame)}) for frame in range(5)]))
    figures = video_figures([seen({}), seen({})])
    assert figures["found_share"] == 0 and np.isnan(figures["arm_lag_frames"])


def test_jitter_is_that_of_resting_keypoints() -> None:
    # The body rests and its published joints jump by 2 mm; then it walks.
    still = [Published({0: person(200)}, {0: np.full((17, 3), 0.002 * (k % 2))}, {0: person(200)}) for k in range(10)]
    walk = [Published({0: person(200)}, {0: np.full((17, 3), 0.1 * k)}, {0: person(200, 20 * k)}) for k in range(1, 6)]
    figures = video_figures([*still, *walk])
    assert figures["joint_jump_at_rest_mm"] == pytest.approx(2 * 3**0.5)
    assert figures["at_rest_share"] == pytest.approx(9 / 14)
    assert rests(person(200), person(200, 0.5)).all() and not rests(person(200), person(200, 5)).any()


def test_identities_of_the_tallest_three() -> None:
    crowd = {5: person(10), 1: person(100), 2: person(90), 3: person(80)}
    assert tallest(crowd) == [1, 2, 3]
    exchanged = {5: person(10), 1: person(100), 2: person(90), 9: person(80)}
    figures = video_figures([seen(crowd), seen(exchanged)])
    assert (figures["identities"], figures["identities_nearest"], figures["people_mean"]) == (5, 4, 4)
