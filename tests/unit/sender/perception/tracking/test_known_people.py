from itertools import count
from types import SimpleNamespace
from typing import cast

import pytest

from sender.perception.observed_person import ObservedPerson
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


def person(identity: int, *, is_propagated: bool = False) -> ObservedPerson:
    return cast(ObservedPerson, SimpleNamespace(identity=identity, is_propagated=is_propagated))


def test_whoever_waits_longest_is_read_first_and_nobody_who_is_propagated() -> None:
    people, observed = KnownPeople(count().__next__), [person(3), person(5), person(7, is_propagated=True)]
    people.see([3, 5, 7], 0.0)
    assert people.due(observed) == [0, 1] and people.is_new(observed[0])
    people.was_read(observed[0], 0.2)
    people.was_read(observed[1], 0.1)
    assert people.due(observed) == [] and not people.is_new(observed[0])
    people.see([3, 5, 7], 0.15)
    assert people.due(observed) == [1]
    people.see([3, 5, 7], 0.25)
    assert people.due([*observed[:2], person(7)]) == [2, 1, 0]


def test_first_reading_may_wait() -> None:
    people = KnownPeople(count().__next__, 0.1)
    people.see([3], 0.0)
    assert people.due([person(3)]) == [] and not people.is_new(person(3))
    people.see([3], 0.15)
    assert people.due([person(3)]) == [0]
