import numpy as np
import pytest

from common.body.label_space import TRANSLATION_SCALE
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.config import SmoothingConfig
from sender.semantics.smoothing import Filtered, LabelSmoother

FPS = 30
ARM, LEG, APPEARANCE, ROOT, SHAPE = (
    group_slices()[name] for name in ("left_arm", "left_leg", "appearance", "root", "shape")
)


def run(labels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    smoother, person = LabelSmoother(strength), Filtered()
    return np.stack([smoother.smooth(person, index / FPS, row) for index, row in enumerate(labels.astype(np.float32))])


def test_jitter_at_rest_is_reduced() -> None:
    labels = np.random.default_rng(0).normal(0, 0.1, (150, LABEL_SIZE))
    labels[:, [ROOT.start, ROOT.start + 4]] += 1 / ROTATION_SCALE
    smoothed = run(labels)
    body = slice(0, APPEARANCE.start)
    assert np.diff(smoothed[30:, body], axis=0).std() < 0.5 * np.diff(labels[30:, body], axis=0).std()
    assert smoothed[30:, body].std(axis=0).mean() < 0.8 * labels[30:, body].std(axis=0).mean()
    distance, arm = (np.diff(smoothed[30:, which], axis=0).std() for which in (ROOT.stop - 1, ARM))
    assert distance < 0.9 * arm


def test_moving_arm_lags_by_one_frame_at_most() -> None:
    time_s = np.arange(300) / FPS
    labels = np.zeros((300, LABEL_SIZE))
    labels[:, ARM] = 1.5 * np.sin(2 * np.pi * time_s * 0.8)[:, None]
    smoothed = run(labels)

    def error(lag: int) -> float:
        return float(np.abs(smoothed[60:, ARM] - labels[60 - lag : len(labels) - lag, ARM]).mean())

    assert min(range(5), key=error) <= 1


def test_limb_that_jumps_in_one_frame_hardly_moves() -> None:
    labels = np.zeros((60, LABEL_SIZE))
    labels[40, ARM] = 4.0
    assert 0 < run(labels)[:, ARM].max() < 0.5
    # The place in the picture follows a camera that is moved.
    position = slice(ROOT.start + 6, ROOT.start + 8)
    labels[40:, position] = 4.0
    assert run(labels)[42, position].min() > 3.8


def test_body_stays_on_the_picture_when_the_camera_pans() -> None:
    # Half of the picture's width in a second: 0.4 of the distance at a field of view of 45°.
    labels = np.zeros((60, LABEL_SIZE))
    position, distance = slice(ROOT.start + 6, ROOT.start + 8), ROOT.stop - 1
    labels[:, position] = 1.6 * np.arange(60)[:, None] / FPS
    labels[:, distance] = labels[:, position.start]
    late = (labels - run(labels))[30:] * FPS / 1.6
    assert late[:, position].max() < 0.1
    assert late[:, distance].min() > 0.5


def test_distance_is_that_of_the_averaged_body() -> None:
    labels = np.zeros((120, LABEL_SIZE))
    labels[:, SHAPE.start] = np.where(np.arange(120) % 20 < 10, 1.0, -1.0)
    larger_m = -0.097 * labels[:, SHAPE.start] / TRANSLATION_SCALE[2]
    labels[:, ROOT.stop - 1] = larger_m
    apart = labels.copy()
    apart[:, SHAPE.start] = 0.0
    assert run(labels)[40:, ROOT.stop - 1].std() < 0.6 * run(apart)[40:, ROOT.stop - 1].std()


def test_people_are_separate_and_forgotten_after_a_gap() -> None:
    smoother, person = LabelSmoother(), Filtered()
    zeros, ones = np.zeros(LABEL_SIZE, np.float32), np.ones(LABEL_SIZE, np.float32)
    smoother.smooth(person, 0.0, zeros)
    np.testing.assert_array_equal(smoother.smooth(Filtered(), 0.0, ones), ones)
    assert smoother.smooth(person, 0.033, ones)[ARM].max() < 1
    np.testing.assert_array_equal(smoother.smooth(person, 5.0, ones), ones)


def test_smoothing_option_sets_strength() -> None:
    with pytest.raises(ValueError, match="smoothing"):
        SmoothingConfig(-1.0)
    labels = np.random.default_rng(3).normal(0, 0.1, (90, LABEL_SIZE)).astype(np.float32)
    strong, usual, weak = (np.diff(run(labels, strength)[30:, ARM], axis=0).std() for strength in (4.0, 1.0, 0.25))
    assert strong < usual < weak


@pytest.mark.parametrize("fps", [5, 240])
def test_size_that_changes_is_followed_as_fast_at_any_frame_rate(fps: int) -> None:
    smoother, person, shape = LabelSmoother(), Filtered(), group_slices()["shape"]
    labels = np.zeros(LABEL_SIZE, np.float32)
    for number in range(15 * fps):
        labels[shape] = number >= 10 * fps
        found = smoother.smooth(person, number / fps, labels)[shape]
    assert found == pytest.approx(0.63, abs=0.04)
