"""Colours of people: how far apart, and how they are remembered."""

import numpy as np
import pytest

from sender.perception.tracking.appearance import Appearance


def looks(colours: list[float], area: list[float]) -> Appearance:
    """Grey regions."""
    return Appearance(np.repeat(np.array([colours], np.float32), 3, axis=0).T, np.array(area, np.float32))


def test_distance_counts_what_is_seen_of_both() -> None:
    first, second = looks([0.2, 0.9], [0.1, 0.1]), looks([0.5, 0.0], [0.1, 0.0])
    assert first.distance(second) == pytest.approx(0.3)
    assert first.distance(first) == 0.0


def test_nothing_in_common_has_no_distance() -> None:
    assert looks([0.2, 0.9], [0.1, 0.0]).distance(looks([0.2, 0.9], [0.0, 0.1])) is None


def test_memory_moves_towards_what_is_seen_as_much_as_is_seen() -> None:
    memory = looks([0.2, 0.2, 0.2], [0.1, 0.1, 0.0])
    after = memory.blended(looks([0.6, 0.6, 0.6], [0.1, 0.0, 0.1]), 0.25)
    assert after.colours[:, 0] == pytest.approx([0.3, 0.2, 0.6])
    assert after.area == pytest.approx([0.1, 0.075, 0.025])


def test_memory_of_nothing_stays_finite() -> None:
    nothing = looks([0.5], [0.0])
    assert np.isfinite(nothing.blended(nothing, 0.5).colours).all()
