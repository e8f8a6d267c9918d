"""The times of a session's frames, and when people are there."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from receiver.export.recorded_session import media_times, presence

_EPOCH_S = 1795947670.093
_DAY_S = 86_400.0
_YEAR_S = 365 * _DAY_S


def captured(frames: int, steps_s: Mapping[int, float]) -> list[float]:
    """Frames that follow each other at 15 a second, in milliseconds, and what is added before some of them."""
    shifts = np.cumsum([steps_s.get(frame, 0.0) for frame in range(frames)])
    return [round(_EPOCH_S + frame / 15 + float(shift), 3) for frame, shift in enumerate(shifts)]


@pytest.mark.parametrize(
    "steps_s",
    [
        {10: 3 * _DAY_S},
        {10: -3 * _DAY_S},
        {10: 40 * _YEAR_S},
        {1: -7200.0, 20: -1.5, 29: 7200.0},
        {1: _YEAR_S, 2: _YEAR_S, 28: -_YEAR_S, 29: -_YEAR_S},
    ],
)
def test_times_go_on_where_the_clock_was_set(steps_s: Mapping[int, float]) -> None:
    times = media_times(captured(30, steps_s))
    np.testing.assert_allclose(times.times_s, np.arange(30) / 15, atol=0.002)
    np.testing.assert_allclose(times.set_s, list(steps_s.values()), atol=0.1)


def test_nobody_sets_the_clock_while_the_camera_is_lost() -> None:
    times = media_times(captured(30, {10: 40.0}))
    assert times.set_s == [] and times.times_s[-1] == pytest.approx(29 / 15 + 40, abs=0.002)
    both = media_times(captured(30, {10: 40.0, 11: _DAY_S}))
    assert both.times_s[-1] == pytest.approx(29 / 15 + 40, abs=0.002)


@pytest.mark.parametrize("step_s", [_DAY_S, -_DAY_S, 0.0])
def test_a_session_of_two_frames(step_s: float) -> None:
    np.testing.assert_allclose(media_times([_EPOCH_S, _EPOCH_S + step_s]).times_s, [0, 1 / 30], atol=1e-6)
    assert media_times([_EPOCH_S]).times_s.tolist() == [0.0]


def test_frames_at_changing_intervals_keep_them() -> None:
    at_s = np.cumsum(np.random.default_rng(0).choice([0.033, 0.2, 1.0], 50))
    set_s = np.where(np.arange(50) < 25, 0.0, _YEAR_S)
    times = media_times(_EPOCH_S + at_s + set_s)
    steps_s = np.delete(np.diff(at_s), 24)
    np.testing.assert_allclose(np.delete(np.diff(times.times_s), 24), steps_s, atol=1e-5)
    assert times.usual_s == pytest.approx(np.median(steps_s), abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (range(30), [(0, math.inf)]),
        (range(10), [(0, 1.0)]),
        (range(5, 30), [(0.5, math.inf)]),
        ([*range(5), *range(10, 15), *range(20, 30)], [(0, 0.5), (1.0, 1.5), (2.0, math.inf)]),
        # Two of ten frames a second are what a detector misses.
        ([0, 1, 3, 4], [(0, 0.5)]),
        ([7], [(0.7, 0.8)]),
    ],
)
def test_people_are_there_while_frames_show_them(rows: range | list[int], expected: list[tuple[float, float]]) -> None:
    found = presence(np.arange(30) / 10, np.array(rows), 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_nobody_is_there_while_the_camera_is_lost() -> None:
    times_s = np.array([0.0, 0.1, 0.2, 40.2, 40.3])
    assert presence(times_s, np.arange(5), 0.1) == [(0.0, pytest.approx(0.3)), (40.2, math.inf)]
    slow_s = np.array([0.0, 10.0, 20.0, 30.0])
    assert presence(slow_s, np.arange(4), 10.0) == [(0.0, math.inf)]
