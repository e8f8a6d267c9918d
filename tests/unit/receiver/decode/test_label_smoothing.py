"""The mean over the frames of somebody who hardly moves."""

import numpy as np
import pytest

from common.arrays import FloatArray
from common.codec.quantiser import UNIT, steps
from common.codec.tables import load as load_tables
from common.labels import GROUPS, LABEL_SIZE, group_slices
from receiver.decode.label_smoothing import LabelSmoothing

LEVELS = np.full(len(GROUPS), 6)
STEP = steps(load_tables().base_step, LEVELS) / UNIT
ARM, SURFACE = group_slices()["left_arm"], group_slices()["surface"]


def shown(offsets: list[float], fps: float = 30.0) -> FloatArray:
    """(T, E) what is shown of labels that are all so many steps from 1."""
    person = LabelSmoothing()
    return np.stack(
        [
            person.smooth(number / fps, np.asarray(1 + offset * STEP, np.float32), LEVELS)
            for number, offset in enumerate(offsets)
        ]
    )


def test_two_values_a_step_apart_become_about_their_mean() -> None:
    found = shown([0.0, 1.0] * 10)
    np.testing.assert_allclose(found[-1, ARM], 1 + 0.5 * STEP[ARM], atol=0.02 * STEP[ARM].max())
    assert (np.abs(found[-1, ARM] - found[-2, ARM]) < 0.03 * STEP[ARM]).all()


def test_slow_drift_is_followed() -> None:
    # A tenth of a step a frame, as the quantiser shows it.
    found = shown([round(0.1 * number) for number in range(60)])
    late = (1 + 0.1 * np.arange(60)[:, None] * STEP[ARM] - found[:, ARM])[20:] / STEP[ARM]
    assert np.abs(late.mean()) < 0.15 and np.abs(late).max() < 0.65


def test_what_moves_by_more_than_its_step_does_not_lag() -> None:
    found = shown([2.5 * number for number in range(12)])
    np.testing.assert_array_equal(found[-1], np.asarray(1 + 2.5 * 11 * STEP, np.float32))


def test_between_rest_and_motion_there_is_no_jump() -> None:
    # The window's range grows from 0 to 3 steps.
    last = [shown([0.0] * 7 + [distance])[-1, ARM] for distance in np.linspace(0, 3, 61)]
    change = np.abs(np.diff(last, axis=0)) / STEP[ARM]
    assert change.max() < 0.2


def test_slow_groups_are_as_they_were_decoded() -> None:
    found = shown([0.0, 1.0] * 4)
    np.testing.assert_array_equal(found[-1, SURFACE], np.asarray(1 + STEP[SURFACE], np.float32))


@pytest.mark.parametrize("fps", [1.0, -30.0])
def test_frames_that_are_long_past_or_of_the_future_do_not_count(fps: float) -> None:
    found = shown([0.0, 1.0], fps)
    np.testing.assert_array_equal(found[-1], np.asarray(1 + STEP, np.float32))


def test_group_that_did_not_arrive_is_not_averaged() -> None:
    person, labels = LabelSmoothing(), np.zeros(LABEL_SIZE, np.float32)
    person.smooth(0.0, labels, LEVELS)
    moved = np.asarray(0.9 * STEP, np.float32)
    found = person.smooth(1 / 30, moved, np.zeros(len(GROUPS), np.int64))
    np.testing.assert_array_equal(found[ARM], moved[ARM])
