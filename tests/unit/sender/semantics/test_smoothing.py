from collections.abc import Sequence

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_SCALE
from common.body.model import axis_angle_to_matrix, matrix_to_rotation_6d
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.config import SmoothingConfig
from sender.perception.track import TrackedPerson
from sender.semantics.smoothing import (
    LATER_S,
    Facing,
    FacingResolver,
    Filtered,
    FixedLagSmoother,
    LabelSmoother,
    turn_between,
)

FPS = 30
ROOT, ARM, SHAPE = (group_slices()[name] for name in ("root", "left_arm", "shape"))


def person(heading: float, arm: float = 0.0) -> FloatArray:
    """Labels (104,) of a person who faces `heading`, degrees from the camera; `arm` is the pose of the left arm."""
    turn = axis_angle_to_matrix(torch.tensor([[0.0, np.radians(heading), 0.0]], dtype=torch.float32))
    labels = np.zeros(LABEL_SIZE, np.float32)
    labels[ROOT.start : ROOT.start + 6] = matrix_to_rotation_6d(turn)[0].numpy() / ROTATION_SCALE
    labels[ARM] = arm
    return labels


def judged(headings: Sequence[float]) -> str:
    """What each frame says, as its initial, when what is shown follows at once."""
    resolver, shown, out = FacingResolver(), person(headings[0]), ""
    for index, heading in enumerate(headings):
        facing = resolver.judge(index / 32, person(heading), shown, (index - 1) / 32)
        shown = shown if facing is Facing.WAITS else person(heading)
        out += facing.name[0]
    return out


def published(headings: Sequence[float], fps: float = FPS) -> list[float]:
    """By how much what the smoother shows is turned from each heading, degrees."""
    smoother, filtered = LabelSmoother(), Filtered()
    rows = [smoother.smooth(filtered, index / fps, person(heading)) for index, heading in enumerate(headings)]
    return [float(np.degrees(turn_between(row, person(heading)))) for row, heading in zip(rows, headings, strict=True)]


def test_frames_from_behind_in_between_are_not_believed() -> None:
    assert judged([0] * 5 + [180] * 4 + [0] * 3 + [180, 0, 180, 180, 0]) == "FFFFFWWWWFFFWFWWF"


def test_frames_that_agree_long_enough_are_believed() -> None:
    assert judged([0] * 5 + [180] * 10) == "FFFFF" + "WWWWWWWTFF"
    # A third pose is another one.
    assert judged([0] * 5 + [180] * 4 + [100] * 10) == "FFFFF" + "WWWW" + "WWWWWWWTFF"


@pytest.mark.parametrize(("speed", "fps"), [(360, 10), (720, 10), (720, 60)])
def test_person_who_spins_is_followed(speed: float, fps: int) -> None:
    headings = [0.0] * fps + [speed * step / fps for step in range(2 * fps)]
    assert max(published(headings, fps)) < 20


def test_pose_waits_with_the_orientation_and_the_rest_is_new() -> None:
    smoother, filtered = LabelSmoother(), Filtered()
    for index in range(30):
        smoother.smooth(filtered, index / FPS, person(0, arm=0.5))
    seen = person(180, arm=-2.0)
    seen[ROOT.stop - 2], seen[SHAPE] = 1.5, 0.7
    kept = smoother.smooth(filtered, 1.0, seen)
    assert kept[ARM] == pytest.approx(0.5, abs=1e-5) and kept[ROOT.stop - 2] > 1 and kept[SHAPE].min() > 0.02
    assert (seen[ARM] == -2.0).all()
    # Somebody else is taken as they are seen.
    np.testing.assert_array_equal(smoother.smooth(Filtered(), 1.0, seen), seen)


SMOOTHING_ARM, LEG, APPEARANCE, SMOOTHING_ROOT, SMOOTHING_SHAPE = (
    group_slices()[name] for name in ("left_arm", "left_leg", "appearance", "root", "shape")
)


def run(labels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    smoother, person = LabelSmoother(strength), Filtered()
    return np.stack([smoother.smooth(person, index / FPS, row) for index, row in enumerate(labels.astype(np.float32))])


def test_jitter_at_rest_is_reduced() -> None:
    labels = np.random.default_rng(0).normal(0, 0.1, (150, LABEL_SIZE))
    labels[:, [SMOOTHING_ROOT.start, SMOOTHING_ROOT.start + 4]] += 1 / ROTATION_SCALE
    smoothed = run(labels)
    body = slice(0, APPEARANCE.start)
    assert np.diff(smoothed[30:, body], axis=0).std() < 0.5 * np.diff(labels[30:, body], axis=0).std()
    assert smoothed[30:, body].std(axis=0).mean() < 0.8 * labels[30:, body].std(axis=0).mean()
    distance, arm = (np.diff(smoothed[30:, which], axis=0).std() for which in (SMOOTHING_ROOT.stop - 1, SMOOTHING_ARM))
    assert distance < 0.9 * arm


def test_moving_arm_lags_by_one_frame_at_most() -> None:
    time_s = np.arange(300) / FPS
    labels = np.zeros((300, LABEL_SIZE))
    labels[:, SMOOTHING_ARM] = 1.5 * np.sin(2 * np.pi * time_s * 0.8)[:, None]
    smoothed = run(labels)

    def error(lag: int) -> float:
        return float(np.abs(smoothed[60:, SMOOTHING_ARM] - labels[60 - lag : len(labels) - lag, SMOOTHING_ARM]).mean())

    assert min(range(5), key=error) <= 1


def test_limb_that_jumps_in_one_frame_hardly_moves() -> None:
    labels = np.zeros((60, LABEL_SIZE))
    labels[40, SMOOTHING_ARM] = 4.0
    assert 0 < run(labels)[:, SMOOTHING_ARM].max() < 0.5
    # The place in the picture follows a camera that is moved.
    position = slice(SMOOTHING_ROOT.start + 6, SMOOTHING_ROOT.start + 8)
    labels[40:, position] = 4.0
    assert run(labels)[42, position].min() > 3.8


def test_body_stays_on_the_picture_when_the_camera_pans() -> None:
    # Half of the picture's width in a second: 0.4 of the distance at a field of view of 45°.
    labels = np.zeros((60, LABEL_SIZE))
    position, distance = slice(SMOOTHING_ROOT.start + 6, SMOOTHING_ROOT.start + 8), SMOOTHING_ROOT.stop - 1
    labels[:, position] = 1.6 * np.arange(60)[:, None] / FPS
    labels[:, distance] = labels[:, position.start]
    late = (labels - run(labels))[30:] * FPS / 1.6
    assert late[:, position].max() < 0.1
    assert late[:, distance].min() > 0.5


def test_distance_is_that_of_the_averaged_body() -> None:
    labels = np.zeros((120, LABEL_SIZE))
    labels[:, SMOOTHING_SHAPE.start] = np.where(np.arange(120) % 20 < 10, 1.0, -1.0)
    larger_m = -0.097 * labels[:, SMOOTHING_SHAPE.start] / TRANSLATION_SCALE[2]
    labels[:, SMOOTHING_ROOT.stop - 1] = larger_m
    apart = labels.copy()
    apart[:, SMOOTHING_SHAPE.start] = 0.0
    assert run(labels)[40:, SMOOTHING_ROOT.stop - 1].std() < 0.6 * run(apart)[40:, SMOOTHING_ROOT.stop - 1].std()


def test_people_are_separate_and_forgotten_after_a_gap() -> None:
    smoother, person = LabelSmoother(), Filtered()
    zeros, ones = np.zeros(LABEL_SIZE, np.float32), np.ones(LABEL_SIZE, np.float32)
    smoother.smooth(person, 0.0, zeros)
    np.testing.assert_array_equal(smoother.smooth(Filtered(), 0.0, ones), ones)
    assert smoother.smooth(person, 0.033, ones)[SMOOTHING_ARM].max() < 1
    np.testing.assert_array_equal(smoother.smooth(person, 5.0, ones), ones)


def test_smoothing_option_sets_strength() -> None:
    with pytest.raises(ValueError, match="smoothing"):
        SmoothingConfig(-1.0)
    labels = np.random.default_rng(3).normal(0, 0.1, (90, LABEL_SIZE)).astype(np.float32)
    strong, usual, weak = (
        np.diff(run(labels, strength)[30:, SMOOTHING_ARM], axis=0).std() for strength in (4.0, 1.0, 0.25)
    )
    assert strong < usual < weak


@pytest.mark.parametrize("fps", [5, 240])
def test_size_that_changes_is_followed_as_fast_at_any_frame_rate(fps: int) -> None:
    smoother, person, shape = LabelSmoother(), Filtered(), group_slices()["shape"]
    labels = np.zeros(LABEL_SIZE, np.float32)
    for number in range(15 * fps):
        labels[shape] = number >= 10 * fps
        found = smoother.smooth(person, number / fps, labels)[shape]
    assert found == pytest.approx(0.63, abs=0.04)


LATER = round(LATER_S * FPS)
FIXED_LAG_ARM, FIXED_LAG_ROOT = (group_slices()[name] for name in ("left_arm", "root"))


def upright(frames: int) -> np.ndarray:
    labels = np.zeros((frames, LABEL_SIZE), np.float32)
    labels[:, [FIXED_LAG_ROOT.start, FIXED_LAG_ROOT.start + 4]] = 1 / ROTATION_SCALE
    return labels


def fixed_lag_run(labels: np.ndarray, later: int) -> np.ndarray:
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
    np.testing.assert_array_equal(fixed_lag_run(labels, later=0), np.stack(expected))


def test_later_frames_undo_the_lag_and_noise_is_filtered_twice() -> None:
    labels, noise = (
        upright(240),
        np.random.default_rng(0).normal(0, 0.03, (240, FIXED_LAG_ARM.stop - FIXED_LAG_ARM.start)),
    )
    moved = 1.5 * np.sin(2 * np.pi * 0.4 * np.arange(240) / FPS)[:, None]
    labels[:, FIXED_LAG_ARM] = moved + noise
    live, later = (fixed_lag_run(labels, each)[60:180, FIXED_LAG_ARM] for each in (0, LATER))
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
