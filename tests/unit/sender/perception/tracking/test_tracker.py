"""Identities through crossings, losses and arrivals, on boxes alone."""

import numpy as np
import pytest

from common.arrays import Box
from sender.perception.inference.detector import Detection
from sender.perception.tracking.appearance import Appearance
from sender.perception.tracking.pose_similarity import ImagePose
from sender.perception.tracking.tracker import Candidate, Tracker, TrackerConfig, overlap, prominence


def box_at(x: float, y: float = 200.0, width: float = 60.0, height: float = 160.0) -> Box:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dtype=np.float32)


def detect(tracker: Tracker, boxes: list[Box], score: float = 0.9) -> None:
    """The detector finds people at `boxes`, and perception confirms all of them."""
    unmatched = tracker.unmatched([Detection(box, score) for box in boxes])
    tracker.add_tracks([Candidate(candidate.box, candidate.score) for candidate in unmatched], 640, 480)


def frame(tracker: Tracker, boxes: list[Box], score: float = 0.9) -> dict[int, float]:
    """One frame in which detector and perception see people at `boxes`; returns identity → x of its box's middle."""
    tracker.advance()
    detect(tracker, boxes, score)
    for track in tracker.seen:
        best = max(boxes, key=lambda box: overlap(track.predicted(), box), default=None)
        if best is None or overlap(track.predicted(), best) < 0.1:
            tracker.observe(track, track.box, confidence=0.0)
        else:
            tracker.observe(track, best, confidence=0.9)
    tracker.resolve_id_switches()
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


def test_stranger_who_is_not_confirmed_is_nobody() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    assert len(tracker.unmatched([Detection(box_at(300), 0.9)])) == 1
    assert tracker.seen == ()
    assert tracker.room == 1


def test_legs_of_somebody_known_are_nobody_new() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100)])
    legs = box_at(100, y=235, width=50, height=85)
    detect(tracker, [box_at(100), legs])
    assert [track.identity for track in tracker.seen] == [0]


def test_child_before_an_adult_is_somebody() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100)])
    child = box_at(105, y=250, width=30, height=55)
    detect(tracker, [box_at(100), child])
    assert len(tracker.seen) == 2


def test_two_tracks_on_one_person_become_one() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100), box_at(180)])
    for track in tracker.seen:
        tracker.observe(track, box_at(140), confidence=0.9)
    tracker.resolve_id_switches()
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


def test_one_of_two_strangers_on_one_person_is_welcome() -> None:
    tracker = Tracker(TrackerConfig(most=2))
    detect(tracker, [box_at(100), box_at(103)])
    assert [track.identity for track in tracker.seen] == [0]


def clothes(*colours: float) -> Appearance:
    """Somebody all of whose regions have one colour."""
    return Appearance(np.tile(np.array(colours, np.float32), (4, 1)), np.full(4, 0.05, np.float32))


RED, BLUE = clothes(0.8, 0.1, 0.1), clothes(0.1, 0.1, 0.8)


def met(*looks: Appearance) -> Tracker:
    """People who stand side by side and have been seen for a while."""
    tracker = Tracker(TrackerConfig(most=len(looks)))
    tracker.add_tracks([Candidate(box_at(100 + 100 * n), 0.9, one) for n, one in enumerate(looks)], 640, 480)
    for _ in range(5):
        tracker.advance()
        for track in tracker.seen:
            where = round((float(track.box[0] + track.box[2]) / 2 - 100) / 100)
            tracker.observe(track, track.box, 0.9, looks[where])
        tracker.resolve_id_switches()
    return tracker


@pytest.mark.parametrize("in_front", [RED, BLUE])
def test_who_steps_in_front_of_somebody_keeps_the_identity(in_front: Appearance) -> None:
    tracker = met(RED, BLUE)
    before = {track.identity: track.remembered for track in tracker.seen}
    tracker.advance()
    for track in tracker.seen:
        tracker.observe(track, box_at(150), 0.9, in_front)
    tracker.resolve_id_switches()
    (track,) = tracker.seen
    remembered = before[track.identity]
    assert remembered is not None
    assert remembered.distance(in_front) == pytest.approx(0, abs=1e-6)


def test_who_was_hidden_is_found_again_by_the_colours() -> None:
    tracker = met(RED, BLUE)
    everybody = {track.identity for track in tracker.seen}
    tracker.advance()
    for track in tracker.seen:
        tracker.observe(track, box_at(150), 0.9, RED)
    tracker.resolve_id_switches()
    tracker.advance()
    tracker.add_tracks([Candidate(box_at(190), 0.8, BLUE)], 640, 480)
    assert {track.identity for track in tracker.seen} == everybody


def test_who_was_lost_comes_before_strangers_however_prominent() -> None:
    tracker = Tracker(TrackerConfig(most=1))
    frame(tracker, [box_at(100)])
    frame(tracker, [])
    seen = frame(tracker, [box_at(320, height=300, width=110), box_at(104)])
    assert seen == {0: pytest.approx(104)}


def test_somebody_of_other_colours_where_one_was_lost_is_a_stranger() -> None:
    tracker = met(RED)
    tracker.advance()
    tracker.observe(tracker.seen[0], box_at(100), 0.1)
    tracker.advance()
    tracker.add_tracks([Candidate(box_at(100), 0.9, BLUE)], 640, 480)
    assert [track.identity for track in tracker.seen] == [1]


def followed_legs() -> tuple[Tracker, Candidate]:
    """Somebody of whom the tracker follows the legs, and the whole of them as the detector finds it now."""
    places = np.stack([np.tile([85.0, 115.0], 9)[:17], np.linspace(130, 280, 17)], axis=1).astype(np.float32)
    tracker = Tracker(TrackerConfig(most=2))
    frame(tracker, [box_at(100)])
    # Wider than the whole, so that it is no part of it.
    legs = np.array([50, 205, 150, 285], np.float32)
    tracker.advance()
    tracker.observe(tracker.seen[0], legs, 0.9, RED, ImagePose(places, np.arange(17) >= 9))
    tracker.advance()
    return tracker, Candidate(box_at(100), 0.9, RED, ImagePose(places + 1, np.ones(17, dtype=np.bool_)))


def test_the_whole_of_somebody_whose_legs_were_followed_is_no_stranger() -> None:
    tracker, whole = followed_legs()
    tracker.add_tracks([whole], 640, 480)
    (track,) = tracker.seen
    assert track.identity == 0
    assert np.array_equal(track.box, whole.box)


def test_a_stranger_over_somebodys_legs_is_one() -> None:
    tracker, whole = followed_legs()
    assert whole.image_pose is not None
    elsewhere = ImagePose(whole.image_pose.places + np.array([40, -60], np.float32), whole.image_pose.seen)
    tracker.add_tracks([Candidate(whole.box, 0.9, BLUE, elsewhere)], 640, 480)
    assert [track.identity for track in tracker.seen] == [0, 1]


def test_prominence_prefers_large_and_central() -> None:
    assert prominence(box_at(320), 0.9, 640, 480) > prominence(box_at(30), 0.9, 640, 480)
    assert prominence(box_at(320, height=300), 0.9, 640, 480) > prominence(box_at(320), 0.9, 640, 480)
