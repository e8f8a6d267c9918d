from itertools import count

import pytest

from sender.perception.tracking import known_people
from sender.perception.tracking.known_people import KnownPeople


def test_who_is_away_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity may be another person's by then."""
    monkeypatch.setattr(known_people, "FORGET_AFTER_FRAMES", 3)
    people = KnownPeople(count().__next__)
    people.see([7, 2])
    assert people == {7: 0, 2: 1}
    for _ in range(3):
        assert people.see([2]) == []
    people.see([2, 7])
    assert people[7] == 0
    gone = [people.see([2]) for _ in range(5)]
    assert gone == [[], [], [], [(7, 0)], []]
    people.see([7])
    assert people == {7: 2, 2: 1}


def test_new_source_has_new_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_people, "FORGET_AFTER_FRAMES", 1)
    people = KnownPeople(count().__next__)
    people.see([3])
    people.clear()
    assert not people and [people.see([]) for _ in range(3)] == [[], [], []]
    people.see([3])
    assert people == {3: 1}
