"""Steadied labels: what stands still stops trembling, what moves is not held back, nobody is mixed up."""

import numpy as np
import pytest

from common.labels import LABEL_SIZE, group_slices
from sender.semantics.smoothing import LabelSmoother, OneEuroConfig, SmoothingConfig, smoother_of

FPS = 30
ARM, LEG, APPEARANCE = (group_slices()[name] for name in ("left_arm", "left_leg", "appearance"))


def run(labels: np.ndarray, config: OneEuroConfig | None = None) -> np.ndarray:
    smoother = LabelSmoother(config)
    return np.stack([smoother.smooth(0, index / FPS, row) for index, row in enumerate(labels.astype(np.float32))])


def test_a_still_person_trembles_less() -> None:
    seen = np.random.default_rng(0).normal(0, 0.1, (150, LABEL_SIZE))
    steady = run(seen)
    body = slice(0, APPEARANCE.start)
    assert np.diff(steady[30:, body], axis=0).std() < 0.5 * np.diff(seen[30:, body], axis=0).std()
    assert steady[30:, body].std() < 0.8 * seen[30:, body].std()


def test_a_moving_arm_lags_by_a_frame_at_most() -> None:
    time_s = np.arange(300) / FPS
    seen = np.zeros((300, LABEL_SIZE))
    seen[:, ARM] = 1.5 * np.sin(2 * np.pi * time_s * 0.8)[:, None]
    steady = run(seen)

    def error(lag: int) -> float:
        return float(np.abs(steady[60:, ARM] - seen[60 - lag : len(seen) - lag, ARM]).mean())

    assert min(range(5), key=error) <= 1


def test_a_moving_arm_does_not_shake_a_still_leg() -> None:
    rng = np.random.default_rng(1)
    still = rng.normal(0, 0.1, (120, LABEL_SIZE))
    waving = still.copy()
    waving[:, ARM] += 2 * np.sin(np.arange(120) / 3)[:, None]
    np.testing.assert_allclose(run(waving)[:, LEG], run(still)[:, LEG], atol=1e-6)


def test_colours_pass_as_they_are() -> None:
    seen = np.random.default_rng(2).normal(size=(10, LABEL_SIZE)).astype(np.float32)
    np.testing.assert_array_equal(run(seen)[:, APPEARANCE], seen[:, APPEARANCE])


def test_people_are_not_mixed_up_and_are_forgotten_after_a_while() -> None:
    smoother = LabelSmoother()
    zeros, ones = np.zeros(LABEL_SIZE, np.float32), np.ones(LABEL_SIZE, np.float32)
    smoother.smooth(0, 0.0, zeros)
    np.testing.assert_array_equal(smoother.smooth(1, 0.0, ones), ones)
    assert smoother.smooth(0, 0.033, ones)[ARM].max() < 1
    np.testing.assert_array_equal(smoother.smooth(0, 5.0, ones), ones)
    smoother.reset()
    np.testing.assert_array_equal(smoother.smooth(0, 5.033, zeros), zeros)


def test_pictures_without_a_time_are_left_alone() -> None:
    smoother = LabelSmoother()
    for value in (0.0, 1.0, -1.0):
        seen = np.full(LABEL_SIZE, value, np.float32)
        np.testing.assert_array_equal(smoother.smooth(0, 0.0, seen), seen)


def test_what_is_handed_out_is_not_what_is_remembered() -> None:
    smoother = LabelSmoother()
    first = smoother.smooth(0, 0.0, np.zeros(LABEL_SIZE, np.float32))
    first += 100
    assert smoother.smooth(0, 0.033, np.zeros(LABEL_SIZE, np.float32)).max() == 0


def test_a_part_of_the_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="104"):
        LabelSmoother().smooth(0, 0.0, np.zeros(7, np.float32))


def test_the_user_s_word_counts() -> None:
    assert smoother_of(SmoothingConfig(0.0)) is None
    with pytest.raises(ValueError, match="smoothing"):
        SmoothingConfig(-1.0)
    seen = np.random.default_rng(3).normal(0, 0.1, (90, LABEL_SIZE)).astype(np.float32)

    def trembling(smoothing: float) -> float:
        smoother = smoother_of(SmoothingConfig(smoothing))
        assert smoother is not None
        rows = [smoother.smooth(0, index / FPS, row) for index, row in enumerate(seen)]
        return float(np.diff(np.stack(rows)[30:, ARM], axis=0).std())

    assert trembling(4.0) < trembling(1.0) < trembling(0.25)
