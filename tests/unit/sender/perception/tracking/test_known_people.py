from itertools import count

import pytest

from sender.perception.tracking import known_people
from sender.perception.tracking.known_people import KnownPeople


def test_who_is_away_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity may be another person's by then."""
    monkeypatch.setattr(known_people, "FORGET_AFTER_S", 0.11)
    people = KnownPeople(count().__next__)
    people.see([7, 2], None)
    assert people == {7: 0, 2: 1}
    for _ in range(3):
        assert people.see([2], None) == []
    people.see([2, 7], None)
    assert people[7] == 0
    gone = [people.see([2], None) for _ in range(5)]
    assert gone == [[], [], [], [(7, 0)], []]
    people.see([7], None)
    assert people == {7: 2, 2: 1}


def test_new_source_has_new_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_people, "FORGET_AFTER_S", 0.04)
    people = KnownPeople(count().__next__)
    people.see([3], None)
    people.clear()
    assert not people and [people.see([], None) for _ in range(3)] == [[], [], []]
    people.see([3], None)
    assert people == {3: 1}
