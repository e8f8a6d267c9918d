"""Whose turn it is, and what waits while a frame has no time."""

import numpy as np
import pytest

from sender.people.view import ReadingSchedule, Turn
from sender.perception.track import EXTRAPOLATED_S, Memory, TrackedPerson


def test_whoever_waits_longest_is_read_first_and_nobody_who_cannot_be() -> None:
    schedule, turns = ReadingSchedule(), [Turn(), Turn(), None]
    assert schedule.due(turns) == [0, 1], "all who are new"
    for turn, pause_s in zip(turns, (0.2, 0.1), strict=False):
        assert turn is not None
        schedule.was_read(turn, pause_s)
    assert schedule.due(turns) == []
    schedule.begin(0.15)
    assert schedule.due(turns) == [1]
    schedule.begin(0.25)
    assert schedule.due(turns, most=2) == [1, 0]
    assert schedule.due([*turns, Turn()], most=2) == [3, 1]


def test_first_reading_may_wait() -> None:
    schedule, turn = ReadingSchedule(), Turn()
    assert schedule.due([turn], first_s=0.1) == []
    schedule.begin(0.15)
    assert schedule.due([turn], first_s=0.1) == [0]


def test_busy_frame_has_time_for_those_who_wait_longer_than_one() -> None:
    schedule, turn = ReadingSchedule(), Turn()
    schedule.occupy(0.3)
    assert schedule.due([turn], yields=True) == [0], "who is new"
    schedule.was_read(turn, 0.0)
    schedule.begin(0.1)
    assert schedule.is_busy and schedule.due([turn, Turn()], yields=True) == [1]
    assert schedule.due([turn]) == [0], "who yields to nobody"
    schedule.begin(0.2)
    assert schedule.due([turn], yields=True) == [0]
    schedule.begin(0.3)
    assert not schedule.is_busy
    schedule.occupy(0.3)
    schedule.begin(0.0)
    assert not schedule.is_busy, "another source"


def test_memories_of_readers_and_people_are_separate() -> None:
    one, other, person = Memory(list[int]), Memory(list[int]), TrackedPerson(3)
    one.of(person).append(5)
    assert one.of(person) == [5] and other.of(person) == one.of(TrackedPerson(3)) == []
    assert one.knows(person) and not one.knows(TrackedPerson(3))


@pytest.mark.parametrize(("unseen_s", "moved_s"), [(0.1, 0.1), (2.0, EXTRAPOLATED_S)])
def test_a_box_is_extrapolated_for_a_short_time(unseen_s: float, moved_s: float) -> None:
    box, velocity = np.array([10, 20, 60, 140], np.float32), np.array([30, 0, 30, 0], np.float32)
    person = TrackedPerson(0, box, velocity=velocity, unseen_s=unseen_s)
    assert person.predicted() == pytest.approx(box + moved_s * velocity)
