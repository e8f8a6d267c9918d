import numpy as np
import pytest

from common.arrays import Box
from sender.config import TrackerConfig
from sender.perception.detect import Detection
from sender.perception.similarity import Appearance, ImagePose, intersection_over_union
from sender.perception.track import Candidate, TrackedPerson, Tracker


def box_at(x: float, y: float = 200.0, width: float = 60.0, height: float = 160.0) -> Box:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dtype=np.float32)


def detect(tracker: Tracker, boxes: list[Box], score: float = 0.9) -> None:
    """The detector proposes `boxes`, and the verifier accepts all of them."""
    unmatched = tracker.associate([Detection(box, score) for box in boxes])
    tracker.add_tracks([Candidate(candidate.box, candidate.score) for candidate in unmatched], 640, 480)


def frame(tracker: Tracker, boxes: list[Box], score: float = 0.9, step_s: float = 1 / 30) -> dict[int, float]:
    """One frame with people at `boxes`; returns identity → x of the centre of its box."""
    tracker.begin_frame(step_s)
    detect(tracker, boxes, score)
    for track in tracker.seen:
        track.observe(best_of(track, boxes))
    seen = tracker.update()
    return {track.identity: float(track.box[0] + track.box[2]) / 2 for track in seen}


def best_of(track: TrackedPerson, boxes: list[Box]) -> Box | None:
    """The box that overlaps the predicted one of a track most, if one does."""
    best = max(boxes, key=lambda box: intersection_over_union(track.predicted(), box), default=None)
    return None if best is None or intersection_over_union(track.predicted(), best) < 0.1 else best


def update(
    tracker: Tracker, box: Box | None, appearance: Appearance | None = None, pose: ImagePose | None = None
) -> tuple[TrackedPerson, ...]:
    """A frame in which everybody is seen in one box."""
    for track in tracker.seen:
        track.observe(box, appearance, pose)
    return tracker.update()


def test_passers_by_of_a_small_share_of_the_height_get_no_track() -> None:
    tracker = Tracker(TrackerConfig(max_people=8, least_height_share=0.4))
    for _ in range(2):
        assert len(frame(tracker, [box_at(100), box_at(300, height=60), box_at(500, height=70)])) == 2


def test_search_is_due_while_nobody_is_seen_and_after_a_loss() -> None:
    tracker = Tracker(TrackerConfig(max_people=2))
    assert tracker.search_due
    frame(tracker, [box_at(100), box_at(400)])
    assert not tracker.search_due
    frame(tracker, [box_at(100)])
    assert tracker.search_due
    for _ in range(20):
        frame(tracker, [box_at(100)])
    assert not tracker.search_due


def test_crossing_people_keep_their_identities() -> None:
    tracker = Tracker(TrackerConfig(max_people=2))
    first = frame(tracker, [box_at(100, 180), box_at(500, 230)])
    left = min(first, key=lambda identity: first[identity])
    for step in range(1, 41):
        last = frame(tracker, [box_at(100 + 10 * step, 180), box_at(500 - 10 * step, 230)])
    assert set(last) == set(first)
    assert last[left] == pytest.approx(500, abs=20)


def test_most_prominent_person_is_tracked() -> None:
    tracker = Tracker(TrackerConfig(max_people=1))
    seen = frame(tracker, [box_at(60, height=80, width=30), box_at(320, height=300, width=110)])
    assert list(seen.values()) == [320]


def test_a_child_in_front_of_an_adult_starts_a_track_and_legs_do_not() -> None:
    for other, tracks in ((box_at(100, y=235, width=50, height=85), 1), (box_at(105, y=250, width=30, height=55), 2)):
        tracker = Tracker(TrackerConfig(max_people=2))
        frame(tracker, [box_at(100)])
        detect(tracker, [box_at(100), other])
        assert len(tracker.seen) == tracks


def test_identities_are_reused_late_and_fit_into_a_byte() -> None:
    tracker = Tracker(TrackerConfig(max_people=1))
    for number in range(300):
        tracker.reset()
        assert list(frame(tracker, [box_at(100)])) == [number % 256]


def clothes(*colours: float) -> Appearance:
    """All regions have one colour."""
    return Appearance(np.tile(np.array(colours, np.float32), (4, 1)), np.full(4, 0.05, np.float32))


RED, BLUE = clothes(0.8, 0.1, 0.1), clothes(0.1, 0.1, 0.8)


def side_by_side(*appearances: Appearance) -> Tracker:
    """A tracker of people next to each other, after five frames."""
    tracker = Tracker(TrackerConfig(max_people=len(appearances)))
    candidates = [Candidate(box_at(100 + 100 * n), 0.9, appearance) for n, appearance in enumerate(appearances)]
    tracker.add_tracks(candidates, 640, 480)
    for _ in range(5):
        tracker.begin_frame()
        for track in tracker.seen:
            track.observe(track.box, appearances[round((float(track.box[[0, 2]].mean()) - 100) / 100)])
        tracker.update()
    return tracker


@pytest.mark.parametrize("in_front", [RED, BLUE])
def test_occluding_person_keeps_identity(in_front: Appearance) -> None:
    tracker = side_by_side(RED, BLUE)
    before = {track.identity: track.remembered for track in tracker.seen}
    tracker.begin_frame()
    (track,) = update(tracker, box_at(150), in_front)
    remembered = before[track.identity]
    assert remembered is not None
    assert remembered.distance(in_front) == pytest.approx(0, abs=1e-6)


def test_occluded_person_is_reidentified_by_colours() -> None:
    tracker = side_by_side(RED, BLUE)
    identities = {track.identity for track in tracker.seen}
    tracker.begin_frame()
    update(tracker, box_at(150), RED)
    tracker.begin_frame()
    tracker.add_tracks([Candidate(box_at(190), 0.8, BLUE)], 640, 480)
    assert {track.identity for track in tracker.seen} == identities


@pytest.mark.parametrize(("where", "identities"), [(104.0, [0]), (330.0, [0, 1])])
def test_track_that_slipped_to_somebody_behind_returns_to_its_person(where: float, identities: list[int]) -> None:
    tracker = side_by_side(RED)
    tracker.config = TrackerConfig(max_people=2)
    for _ in range(3):
        tracker.begin_frame()
        update(tracker, box_at(118), BLUE)
    tracker.begin_frame()
    tracker.add_tracks([Candidate(box_at(where), 0.9, RED)], 640, 480)
    assert [track.identity for track in tracker.seen] == identities
    assert tracker.seen[-1].box[0] == box_at(where)[0]


def track_of_legs() -> tuple[Tracker, Candidate]:
    """A tracker whose only track covers a person's legs, and a candidate that shows the whole person."""
    keypoints = np.stack([np.tile([85.0, 115.0], 9)[:17], np.linspace(130, 280, 17)], axis=1).astype(np.float32)
    tracker = Tracker(TrackerConfig(max_people=2))
    frame(tracker, [box_at(100)])
    # Wider than the whole person, so that the boxes are no duplicates.
    legs = np.array([50, 205, 150, 285], np.float32)
    tracker.begin_frame()
    update(tracker, legs, RED, ImagePose(keypoints, np.arange(17) >= 9))
    tracker.begin_frame()
    return tracker, Candidate(box_at(100), 0.9, RED, ImagePose(keypoints + 1, np.ones(17, dtype=np.bool_)))


def test_box_of_legs_is_replaced_by_whole_person() -> None:
    tracker, whole = track_of_legs()
    tracker.add_tracks([whole], 640, 480)
    (track,) = tracker.seen
    assert track.identity == 0
    assert np.array_equal(track.box, whole.box)


def test_person_over_tracked_legs_starts_track() -> None:
    tracker, whole = track_of_legs()
    assert whole.image_pose is not None
    other_pose = ImagePose(whole.image_pose.keypoints + np.array([40, -60], np.float32), whole.image_pose.located)
    tracker.add_tracks([Candidate(whole.box, 0.9, BLUE, other_pose)], 640, 480)
    assert [track.identity for track in tracker.seen] == [0, 1]


FRAME_RATES = [5, 240]


def present(tracker: Tracker, boxes: list[Box], seconds: float, fps: int) -> None:
    """Frames of people who stay where they are."""
    for _ in range(round(seconds * fps)):
        frame(tracker, boxes, step_s=1 / fps)


@pytest.mark.parametrize("fps", FRAME_RATES)
@pytest.mark.parametrize(("away_s", "identity"), [(1.2, 0), (2.2, 1)])
def test_identity_is_kept_as_long_at_any_frame_rate(fps: int, away_s: float, identity: int) -> None:
    tracker = Tracker(TrackerConfig(max_people=1))
    present(tracker, [box_at(100)], 1.0, fps)
    present(tracker, [], away_s, fps)
    assert list(frame(tracker, [box_at(100)], step_s=1 / fps)) == [identity]


@pytest.mark.parametrize("fps", FRAME_RATES)
def test_velocity_is_of_a_second(fps: int) -> None:
    tracker = Tracker(TrackerConfig(max_people=1))
    for number in range(fps):
        frame(tracker, [box_at(100 + 120 * number / fps)], step_s=1 / fps)
    (track,) = tracker.seen
    assert track.velocity == pytest.approx([120, 0, 120, 0], rel=0.05)
