"""Means over two views that take turns: exact in steady motion, and steady at rest."""

import numpy as np
import pytest

from common.arrays import FloatArray
from sender.perception.crop import OTHER, View, ViewMean, ViewTurns

BIAS = np.array([0.5, -0.25, 0.0], np.float32)
SIGNS = {"both": 0, "plain": 1, "mirrored": -1}


def seen(truth: FloatArray, view: View) -> FloatArray:
    return np.asarray(truth + SIGNS[view] * BIAS, np.float32)


def means(velocity: float, frames: int = 6) -> list[FloatArray]:
    """Of somebody who moves steadily; both views in the first frame."""
    person = ViewMean()
    view: View = "both"
    found = []
    for number in range(frames):
        found.append(person.add(view, seen(np.full(3, velocity * number, np.float32), view), number / 30))
        view = "plain" if view == "both" else OTHER[view]
    return found


@pytest.mark.parametrize(("velocity", "known_after"), [(0.0, 0), (0.2, 3)])
def test_person_at_rest_or_in_steady_motion_is_where_both_views_show_them(velocity: float, known_after: int) -> None:
    truth = velocity * np.arange(6)[:, None] * np.ones(3)
    np.testing.assert_allclose(means(velocity)[known_after:], truth[known_after:], atol=1e-6)


def test_each_view_twice_does_not_move_somebody_who_rests_or_moves_steadily() -> None:
    for velocity in (0.0, 0.2):
        person, found = ViewMean(), []
        two: list[View] = ["plain", "plain", "mirrored", "mirrored"]
        views: list[View] = ["both", *two, *two, *two]
        for number, view in enumerate(views):
            truth = np.full(3, velocity * number, np.float32)
            found.append(person.add(view, seen(truth, view), number / 30) - truth)
        assert float(np.abs(found[5:]).max()) < 1e-5


def test_other_view_of_long_ago_says_nothing() -> None:
    person = ViewMean()
    person.add("plain", BIAS, 0.0)
    assert person.add("mirrored", -BIAS, 0.3).tolist() == (-BIAS).tolist()


def test_view_that_comes_twice_since_a_frame_was_missed() -> None:
    person = ViewMean()
    person.add("plain", BIAS, 0.0)
    assert person.add("plain", 2 * BIAS, 0.1).tolist() == (2 * BIAS).tolist()


@pytest.mark.parametrize(("live", "views"), [(False, ["both", "both"]), (True, ["both", "plain"])])
def test_pauses_of_a_camera_are_the_machines(live: bool, views: list[View]) -> None:
    turns, person = ViewTurns(live=live), ViewMean()
    found: list[View] = []
    for time_s in (0.0, 0.2):
        found.append(turns.next_view([person], time_s))
        person.add(found[-1], BIAS, time_s)
    assert found == views
