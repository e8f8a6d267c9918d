from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import Box, Float64Array
from sender.config import TrackerConfig
from sender.perception.crop import USUAL_STEP_S, CropBox, FrameClock
from sender.perception.detect import Appearance, Detection, ImagePose, confirms, intersection_over_union
from sender.perception.keypoint_fusion import hide_neighbours, without
from sender.perception.perception_network import PerceptionConfig, PerceptionNet
from sender.perception.read import KeyFrames
from sender.perception.track import DriftDetector, Evidence, ObservedPerson, TrackedPerson, Tracker


def box_at(x: float, y: float = 200.0, width: float = 60.0, height: float = 160.0) -> Box:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dtype=np.float32)


def detect(tracker: Tracker, boxes: list[Box], score: float = 0.9) -> None:
    """The detector proposes `boxes`, and the verifier accepts all of them."""
    unmatched = tracker.associate([Detection(box, score) for box in boxes])
    tracker.add_tracks(unmatched, 640, 480)


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
    candidates = [Detection(box_at(100 + 100 * n), 0.9, appearance) for n, appearance in enumerate(appearances)]
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
    tracker.add_tracks([Detection(box_at(190), 0.8, BLUE)], 640, 480)
    assert {track.identity for track in tracker.seen} == identities


@pytest.mark.parametrize(("where", "identities"), [(104.0, [0]), (330.0, [0, 1])])
def test_track_that_slipped_to_somebody_behind_returns_to_its_person(where: float, identities: list[int]) -> None:
    tracker = side_by_side(RED)
    tracker.config = TrackerConfig(max_people=2)
    for _ in range(3):
        tracker.begin_frame()
        update(tracker, box_at(118), BLUE)
    tracker.begin_frame()
    tracker.add_tracks([Detection(box_at(where), 0.9, RED)], 640, 480)
    assert [track.identity for track in tracker.seen] == identities
    assert tracker.seen[-1].box[0] == box_at(where)[0]


def track_of_legs() -> tuple[Tracker, Detection]:
    """A tracker whose only track covers a person's legs, and a candidate that shows the whole person."""
    keypoints = np.stack([np.tile([85.0, 115.0], 9)[:17], np.linspace(130, 280, 17)], axis=1).astype(np.float32)
    tracker = Tracker(TrackerConfig(max_people=2))
    frame(tracker, [box_at(100)])
    # Wider than the whole person, so that the boxes are no duplicates.
    legs = np.array([50, 205, 150, 285], np.float32)
    tracker.begin_frame()
    update(tracker, legs, RED, ImagePose(keypoints, np.arange(17) >= 9))
    tracker.begin_frame()
    return tracker, Detection(box_at(100), 0.9, RED, ImagePose(keypoints + 1, np.ones(17, dtype=np.bool_)))


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
    tracker.add_tracks([Detection(whole.box, 0.9, BLUE, other_pose)], 640, 480)
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


PERSON: Box = np.array([100, 60, 140, 180], np.float32)
ELSEWHERE = Detection(np.array([250, 60, 290, 180], np.float32), 0.8)
CLEAR = Evidence(PERSON, presence=0.98, cells=10, coverage=0.05, inside=1.0, side_px=120.0, fill=0.4)
FURNITURE = replace(CLEAR, presence=0.85, cells=0, coverage=0.4)


def grown(share: float) -> Evidence:
    """Evidence of a box that has grown around the person's by a share of its size, without located keypoints."""
    centre, half = (PERSON[:2] + PERSON[2:]) / 2, (PERSON[2:] - PERSON[:2]) / 2 * (1 + share)
    box = np.concatenate([centre - half, centre + half]).astype(np.float32)
    return replace(CLEAR, box=box, cells=0, presence=0.85, coverage=CLEAR.coverage * (1 + share) ** 2)


def test_track_of_a_clear_person_is_kept() -> None:
    drift = DriftDetector()
    for _ in range(30):
        drift.compare(PERSON, [ELSEWHERE])
        drift.observe(CLEAR)
        assert not drift.search_due
        assert not drift.has_drifted


def test_growing_box_has_drifted() -> None:
    drift = DriftDetector()
    drift.observe(CLEAR)
    frames = 0
    while not drift.has_drifted:
        frames += 1
        drift.observe(grown(0.25 * frames))
        assert drift.search_due
    assert frames <= 5


def test_person_who_comes_closer_quickly_is_kept() -> None:
    drift = DriftDetector()
    for frame in range(20):
        drift.observe(replace(grown(0.15 * frame), cells=9, presence=0.95))
        assert not drift.has_drifted


def test_person_who_turns_away_on_the_spot_is_kept() -> None:
    drift = DriftDetector()
    drift.observe(CLEAR)
    for _ in range(15):
        drift.observe(replace(FURNITURE, box=PERSON))
        drift.compare(PERSON, [Detection(PERSON, 0.4)])
        assert not drift.has_drifted


def test_box_that_fresh_detections_contradict_has_drifted() -> None:
    drift = DriftDetector()
    unclear = replace(CLEAR, cells=3, presence=0.9)
    for given_up in (False, False, True):
        drift.compare(PERSON, [ELSEWHERE])
        drift.observe(unclear)
        assert drift.search_due
        assert drift.has_drifted == given_up
    drift.compare(PERSON, [ELSEWHERE, Detection(PERSON, 0.3)])
    assert not drift.has_drifted


def test_box_without_keypoints_or_of_low_presence_is_given_up_soon() -> None:
    drift = DriftDetector()
    for _ in range(2):
        drift.compare(PERSON, [Detection(PERSON, 0.4)])
        drift.observe(FURNITURE)
    assert drift.has_drifted
    drift = DriftDetector()
    drift.observe(replace(CLEAR, cells=3, presence=0.5))
    assert drift.search_due and not drift.has_drifted
    drift.compare(PERSON, [ELSEWHERE])
    assert drift.has_drifted


@pytest.mark.parametrize(
    "changed",
    [
        replace(CLEAR, presence=0.7),
        replace(CLEAR, fill=0.1),
        replace(CLEAR, cells=3, box=np.array([100, 60, 200, 260], np.float32)),
        replace(CLEAR, cells=3, box=np.array([100, 60, 150, 160], np.float32)),
    ],
    ids=["presence", "mask", "area", "aspect"],
)
def test_unclear_frame_makes_the_detector_search(changed: Evidence) -> None:
    drift = DriftDetector()
    drift.observe(replace(CLEAR, cells=3))
    assert not drift.search_due
    drift.observe(changed)
    assert drift.search_due


def test_detection_confirms_by_overlap_or_containment() -> None:
    legs = np.array([100, 140, 140, 180], np.float32)
    assert confirms(PERSON, PERSON + 5)
    assert confirms(legs, PERSON)
    assert confirms(PERSON, legs)
    assert not confirms(np.array([110, 80, 118, 100], np.float32), PERSON)
    assert not confirms(ELSEWHERE.box, PERSON)


@pytest.mark.parametrize("fps", [5, 240])
@pytest.mark.parametrize(("box", "given_up_s"), [(PERSON, 0.62), (PERSON + 300, 0.03)], ids=["stationary", "moved"])
def test_nobody_is_believed_after_a_time_and_never_at_once(fps: int, box: Box, given_up_s: float) -> None:
    drift = DriftDetector()
    drift.observe(CLEAR)
    frames = 0
    while not drift.has_drifted:
        frames += 1
        drift.observe(replace(FURNITURE, box=box), 1 / fps)
    assert frames >= 2
    assert given_up_s <= (frames - 1) / fps <= given_up_s + 1 / fps


# Of two people side by side, who share the pixels 80 to 120 across.
BOXES = [np.array([20, 40, 120, 180], np.float32), np.array([80, 40, 180, 180], np.float32)]


def across(crop: CropBox, size: int) -> Float64Array:
    """(S, S) how far the pixels of a crop are across the picture, in axes that are rolled about its middle."""
    places = (np.arange(size) + 0.5) / size - 0.5
    grid = np.stack(np.meshgrid(places, places), -1) * crop.side @ crop.axes.T + crop.centre
    return np.asarray((grid - [100, 110]) @ crop.axes[:, 0] + 100)


def mask(crop: CropBox, left_px: float, right_px: float) -> torch.Tensor:
    inside = (across(crop, 48) > left_px) & (across(crop, 48) < right_px)
    return torch.from_numpy(np.where(inside, 5.0, -5.0).astype(np.float32))


@pytest.mark.parametrize("roll", [0.0, 0.2])
def test_what_is_another_persons_is_black(roll: float) -> None:
    crops, seen = ([CropBox.around(box, margin, roll) for box in BOXES] for margin in (1.25, 1.1))
    masks = torch.stack([mask(crops[0], 20, 100), mask(crops[1], 100, 180)])
    cuts = [np.full((96, 96, 3), 9, np.uint8) for _ in BOXES]
    hide_neighbours(cuts, seen, BOXES, crops, masks)
    # In the middle rows, which both crops have.
    left, right = (across(crop, 96)[36:60] for crop in seen)
    cuts = [cut[36:60] for cut in cuts]
    assert (cuts[0][left < 95] == 9).all() and (cuts[1][right > 105] == 9).all()
    assert (cuts[0][(left > 105) & (left < 125)] == 0).all() and (cuts[1][(right < 95) & (right > 75)] == 0).all()


@pytest.mark.parametrize("roll", [0.0, 0.3])
def test_frame_without_people_is_black_where_their_masks_are(roll: float) -> None:
    crop = CropBox.around(BOXES[0], roll=roll)
    image = np.full((200, 200, 3), 9, np.uint8)
    rest = without(image, [(mask(crop, 60, 90), crop)])
    # In the frame, along an axis of the crop through its middle.
    steps = np.arange(-40, 40) * crop.axes[:, :1] + np.array(crop.centre)[:, None]
    x, y = np.round(steps).astype(int)
    at = (np.stack([x, y], -1) - [100, 110]) @ crop.axes[:, 0] + 100
    assert (rest[y, x][(at > 63) & (at < 87)] == 0).all()
    assert (rest[y, x][(at < 57) | (at > 93)] == 9).all()
    assert (image == 9).all()


STEP_S = 1 / 30
TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)
OUTPUT = PerceptionNet(TINY).eval()(torch.zeros(1, 3, 32, 32))
KEY_FRAMES_PERSON = ObservedPerson(
    TrackedPerson(1), 0.9, CropBox.around(np.array([0, 0, 10, 10], np.float32)), OUTPUT, "plain"
)


def follow(frames: KeyFrames, number: int, person: ObservedPerson = KEY_FRAMES_PERSON, step_s: float = STEP_S) -> bool:
    """Whether a frame is propagated."""
    known = frames.before([person.person], number * step_s)
    frames.keep([replace(each, is_propagated=True) for each in known] or [person], number * step_s)
    return bool(known)


def test_all_are_key_frames_until_one_is_late() -> None:
    frames = KeyFrames()
    assert not any(follow(frames, number) for number in range(10))
    frames.late(10 * STEP_S)
    assert [follow(frames, number) for number in range(10, 16)] == [True, False] * 3


def test_machine_that_is_fast_again_reads_every_frame_and_a_slow_one_is_tried_ever_more_rarely() -> None:
    frames, pauses = KeyFrames(), []
    now = 0
    for _ in range(3):
        frames.late(now * STEP_S)
        began = now
        while any([follow(frames, now := now + 1), follow(frames, now := now + 1)]):
            pass
        pauses.append((now - began) * STEP_S)
    assert pauses == pytest.approx([2, 4, 8], abs=4 * STEP_S)


@pytest.mark.parametrize(
    ("other", "step_s"),
    [
        (replace(KEY_FRAMES_PERSON, person=TrackedPerson(2)), STEP_S),
        (KEY_FRAMES_PERSON, 0.3),
        (replace(KEY_FRAMES_PERSON, view="both"), STEP_S),
    ],
)
def test_new_people_long_pauses_and_both_views_are_not_propagated(other: ObservedPerson, step_s: float) -> None:
    frames = KeyFrames()
    follow(frames, 0, KEY_FRAMES_PERSON if other.view == "plain" else other)
    frames.late(0.0)
    assert not follow(frames, 1, other, step_s)


def test_time_is_that_of_the_frames() -> None:
    clock = FrameClock()
    steps = [clock.tick(time_s) for time_s in (7.0, 7.25, 7.5, 9.5)]
    assert steps == [USUAL_STEP_S, 0.25, 0.25, 2.0] and clock.now_s == 2.5


@pytest.mark.parametrize("times_s", [(None, None, None), (3.0, 3.0, 3.0), (5.0, 4.0, 3.0), (5.0, None, 5.0)])
def test_clock_goes_on_where_the_source_has_none_or_it_does_not_advance(times_s: tuple[float | None, ...]) -> None:
    clock = FrameClock()
    assert [clock.tick(time_s) for time_s in times_s] == [USUAL_STEP_S] * 3
    assert clock.now_s == pytest.approx(2 * USUAL_STEP_S)


STANDING = np.stack([np.tile([100.0, 140.0], 9)[:17], np.linspace(50, 350, 17)], axis=1).astype(np.float32)
ALL = np.ones(17, dtype=np.bool_)
LEGS = np.arange(17) >= 9


def appearance(colours: list[float], area: list[float]) -> Appearance:
    """Grey regions."""
    return Appearance(np.repeat(np.array([colours], np.float32), 3, axis=0).T, np.array(area, np.float32))


def test_distance_is_over_commonly_visible_regions() -> None:
    first, second = appearance([0.2, 0.9], [0.1, 0.1]), appearance([0.5, 0.0], [0.1, 0.0])
    assert first.distance(second) == pytest.approx(0.3)
    assert first.distance(first) == 0.0
    assert appearance([0.2, 0.9], [0.1, 0.0]).distance(appearance([0.2, 0.9], [0.0, 0.1])) is None


def test_blend_weighs_regions_by_visible_area() -> None:
    memory = appearance([0.2, 0.2, 0.2], [0.1, 0.1, 0.0])
    after = memory.blended(appearance([0.6, 0.6, 0.6], [0.1, 0.0, 0.1]), 0.25)
    assert after.colours[:, 0] == pytest.approx([0.3, 0.2, 0.6])
    assert after.area == pytest.approx([0.1, 0.075, 0.025])
    nothing = appearance([0.5], [0.0])
    assert np.isfinite(nothing.blended(nothing, 0.5).colours).all()


def test_part_of_a_person_is_the_same_person_and_who_stands_behind_is_not() -> None:
    noisy = (STANDING + np.random.default_rng(0).normal(0, 4, STANDING.shape)).astype(np.float32)
    whole, legs = ImagePose(STANDING, ALL), ImagePose(noisy, LEGS)
    assert whole.is_same_person(legs) and legs.is_same_person(whole)
    assert not whole.is_same_person(ImagePose(STANDING + np.array([45, -10], np.float32), ALL))
    assert whole.is_same_person(ImagePose(STANDING, np.arange(17) >= 13))
    assert not whole.is_same_person(ImagePose(STANDING, np.arange(17) >= 14)), "too few keypoints in common"


def test_hips_of_a_person_may_lie_farther_apart_than_eyes() -> None:
    moved = STANDING + np.array([8, 0], np.float32)
    legs, face = LEGS & (np.arange(17) >= 11), np.arange(17) < 5
    assert ImagePose(STANDING, legs).is_same_person(ImagePose(moved, legs))
    assert not ImagePose(STANDING, face).is_same_person(ImagePose(moved, face))
