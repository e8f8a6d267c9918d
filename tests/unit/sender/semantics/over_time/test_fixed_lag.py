import numpy as np
import pytest

from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.perception.track import TrackedPerson
from sender.semantics.smoothing import LATER_S, Filtered, FixedLagSmoother, LabelSmoother

FPS = 30
LATER = round(LATER_S * FPS)
ARM, ROOT = (group_slices()[name] for name in ("left_arm", "root"))


def upright(frames: int) -> np.ndarray:
    labels = np.zeros((frames, LABEL_SIZE), np.float32)
    labels[:, [ROOT.start, ROOT.start + 4]] = 1 / ROTATION_SCALE
    return labels


def run(labels: np.ndarray, later: int) -> np.ndarray:
    smoother, person, found = FixedLagSmoother(1.0, waits=later > 0), TrackedPerson(0), []
    for index, row in enumerate(labels):
        smoother.add(person, index / FPS, row)
        if index >= later:
            found.append(smoother.next(person))
    return np.stack(found)


def test_what_nothing_follows_is_filtered_once() -> None:
    labels = upright(60) + np.random.default_rng(0).normal(0, 0.1, (60, LABEL_SIZE)).astype(np.float32)
    forwards, person = LabelSmoother(), Filtered()
    expected = [forwards.smooth(person, index / FPS, row) for index, row in enumerate(labels)]
    np.testing.assert_array_equal(run(labels, later=0), np.stack(expected))


def test_later_frames_undo_the_lag_and_noise_is_filtered_twice() -> None:
    labels, noise = upright(240), np.random.default_rng(0).normal(0, 0.03, (240, ARM.stop - ARM.start))
    moved = 1.5 * np.sin(2 * np.pi * 0.4 * np.arange(240) / FPS)[:, None]
    labels[:, ARM] = moved + noise
    live, later = (run(labels, each)[60:180, ARM] for each in (0, LATER))
    live_error, error = (np.abs(each - moved[60:180]).mean() for each in (live, later))
    live_shake, shake = (np.diff(each, n=2, axis=0).std() for each in (live, later))
    assert error < 0.8 * live_error and shake < 0.7 * live_shake


def test_people_are_separate_and_frames_wait_until_they_are_asked_for() -> None:
    smoother, (zeros, ones) = FixedLagSmoother(1.0), (upright(1)[0], upright(1)[0] + 1)
    one, other = TrackedPerson(0), TrackedPerson(0)
    for index in range(3):
        smoother.add(one, index / FPS, zeros)
    smoother.add(other, 0.0, ones)
    np.testing.assert_array_equal(smoother.next(other), ones)
    for _ in range(3):
        np.testing.assert_array_equal(smoother.next(one), zeros)
    with pytest.raises(IndexError):
        smoother.next(one)
