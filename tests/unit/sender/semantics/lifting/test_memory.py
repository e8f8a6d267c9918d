"""Windows of what was seen of people in the last second."""

import numpy as np
import pytest

from sender.perception.track import TrackedPerson
from sender.semantics.lifter import RecentFrames, Window
from sender.semantics.lifting_network import Observations
from tests.unit.sender.semantics.lifting.test_window import observations

PERSON = TrackedPerson(3)


def frame(time_s: float) -> Observations:
    window = observations()
    return Observations(**{name: getattr(window, name)[0, 0] for name in window.__slots__} | {"time_s": time_s})


def filmed(fps: float, seconds: float, lost: range = range(0)) -> tuple[RecentFrames, float]:
    """A person in all frames but those of `lost`; and the time of the newest frame."""
    frames, count = RecentFrames(), round(fps * seconds)
    for number in range(count):
        time_s = number / fps
        frames.add({} if number in lost else {PERSON: frame(time_s)}, time_s)
    return frames, (count - 1) / fps


def times(window: Window) -> list[float]:
    """Of its frames, from the one that is estimated."""
    return [round(float(each.time_s - window.frames[window.anchor].time_s), 3) for each in window.frames]


@pytest.mark.parametrize(
    ("fps", "step_s", "count"), [(30, 1 / 30, 16), (60, 3 / 60, 16), (300, 0.03, 16), (5, 0.2, 6), (0.5, 0, 1)]
)
def test_window_covers_half_a_second_to_one_at_any_rate(fps: float, step_s: float, count: int) -> None:
    frames, now_s = filmed(fps, 4)
    expected = [round(-step_s * number, 3) for number in reversed(range(count))]
    assert times(frames.window(PERSON, now_s, 16)) == expected


def test_window_within_a_clip_has_frames_on_both_sides() -> None:
    frames, _ = filmed(30, 2)
    for later, before in ((20, 7), (8, 7), (3, 12), (0, 15)):
        window = frames.window(PERSON, (59 - later) / 30, 16)
        assert times(window) == [round(number / 30, 3) for number in range(-before, min(later, 8) + 1)]


def test_frames_without_the_person_are_remembered_where_they_were() -> None:
    frames, now_s = filmed(30, 1, lost=range(20, 25))
    window = frames.window(PERSON, now_s, 16)
    assert [bool(each.seen) for each in window.frames] == [True] * 6 + [False] * 5 + [True] * 5
    np.testing.assert_array_equal(window.frames[7].centre, window.frames[5].centre)


@pytest.mark.parametrize("time_s", [0.0, 0.4])
def test_time_that_does_not_advance_begins_anew(time_s: float) -> None:
    frames, _ = filmed(10, 0.5)
    frames.add({PERSON: frame(time_s)}, time_s)
    assert len(frames.window(PERSON, time_s, 16).frames) == 1


def test_the_frame_that_is_estimated_is_smoothed_anew() -> None:
    window = Window([frame(number / 30) for number in range(3)], 1)
    entries = np.full_like(window.frames[1].smoothed, 2.0)
    changed = window.where_smoothed(entries)
    assert [bool((each.smoothed == entries).all()) for each in changed.frames] == [False, True, False]
