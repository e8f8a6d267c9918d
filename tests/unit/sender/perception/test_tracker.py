"""Identities through crossings, losses and arrivals, on boxes alone."""

import numpy as np
import pytest

from sender.perception.finder import Detection
from sender.perception.tracker import Box, Tracker, TrackerConfig, overlap, prominence


def box_at(x: float, y: float = 200.0, width: float = 60.0, height: float = 160.0) -> Box:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dtype=np.float32)


def frame(tracker: Tracker, boxes: list[Box], score: float = 0.9) -> dict[int, float]:
    """One frame in which finder and perception see people at `boxes`; returns identity → x of its box's middle."""
    tracker.advance()
    tracker.detect([Detection(box, score) for box in boxes], 640, 480)
    for track in tracker.seen:
        best = max(boxes, key=lambda box: overlap(track.predicted(), box), default=None)
        if best is None or overlap(track.predicted(), best) < 0.1:
            tracker.observe(track, track.box, confidence=0.0)
        else:
            tracker.observe(track, best, confidence=0.9)
    tracker.part()
    return {track.identity: float(track.box[0] + track.box[2]) / 2 for track in tracker.seen}


def test_one_person_keeps_one_identity() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    for x in range(100, 400, 10):
        assert list(frame(tracker, [box_at(x)])) == [0]


def test_two_people_crossing_keep_their_identities() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    first = frame(tracker, [box_at(100, 180), box_at(500, 230)])
    left = min(first, key=lambda identity: first[identity])
    for step in range(1, 41):
        last = frame(tracker, [box_at(100 + 10 * step, 180), box_at(500 - 10 * step, 230)])
    assert set(last) == set(first)
    assert last[left] == pytest.approx(500, abs=20)


def test_short_loss_keeps_the_identity() -> None:
    tracker = Tracker(TrackerConfig(most=1, forget_frames=20))
    for x in range(100, 200, 10):
        frame(tracker, [box_at(x)])
    for _ in range(8):
        assert frame(tracker, []) == {}
    assert list(frame(tracker, [box_at(230)])) == [0]


def test_long_loss_is_another_person() -> None:
    tracker = Tracker(TrackerConfig(most=1, forget_frames=5))
    frame(tracker, [box_at(100)])
    for _ in range(10):
        frame(tracker, [])
    assert list(frame(tracker, [box_at(100)])) == [1]


def test_someone_elsewhere_is_another_person() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    frame(tracker, [box_at(100)])
    frame(tracker, [])
    assert list(frame(tracker, [box_at(550)])) == [1]


def test_newcomer_joins_while_there_is_room() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100)])
    assert set(frame(tracker, [box_at(100), box_at(400)])) == {0, 1}
    assert set(frame(tracker, [box_at(100), box_at(400), box_at(550)])) == {0, 1}


def test_most_prominent_is_chosen() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    seen = frame(tracker, [box_at(60, height=80, width=30), box_at(320, height=300, width=110)])
    assert list(seen.values()) == [320]


def test_doubtful_detection_starts_nobody() -> None:
    tracker = Tracker(TrackerConfig(most=1, least_score=0.4))
    assert frame(tracker, [box_at(300)], score=0.36) == {}


def test_legs_of_somebody_known_are_nobody_new() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100)])
    legs = box_at(100, y=235, width=50, height=85)
    tracker.detect([Detection(box_at(100), 0.9), Detection(legs, 0.6)], 640, 480)
    assert [track.identity for track in tracker.seen] == [0]


def test_child_before_an_adult_is_somebody() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100)])
    child = box_at(105, y=250, width=30, height=55)
    tracker.detect([Detection(box_at(100), 0.9), Detection(child, 0.6)], 640, 480)
    assert len(tracker.seen) == 2


def test_two_tracks_on_one_person_become_one() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100), box_at(180)])
    for track in tracker.seen:
        tracker.observe(track, box_at(140), confidence=0.9)
    tracker.part()
    assert [track.identity for track in tracker.seen] == [0]


def test_reset_does_not_give_old_identities_to_new_people() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    frame(tracker, [box_at(100)])
    tracker.reset()
    assert list(frame(tracker, [box_at(100)])) == [1]


def test_identities_stay_within_a_byte() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    for _ in range(300):
        tracker.reset()
        frame(tracker, [box_at(100)])
    assert next(iter(tracker.seen)).identity == 299 % 256


def test_finder_that_no_longer_believes_lowers_the_score() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    frame(tracker, [box_at(100)])
    before = tracker.seen[0].score
    for _ in range(5):
        tracker.detect([], 640, 480)
    assert tracker.seen[0].score < 0.5 * before


def test_prominence_prefers_large_and_central() -> None:
    assert prominence(box_at(320), 0.9, 640, 480) > prominence(box_at(30), 0.9, 640, 480)
    assert prominence(box_at(320, height=300), 0.9, 640, 480) > prominence(box_at(320), 0.9, 640, 480)
