from dataclasses import replace

import numpy as np
import pytest

from common.arrays import Box
from sender.perception.detect import Detection
from sender.perception.similarity import confirms
from sender.perception.track import DriftDetector, Evidence

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


def test_large_box_without_keypoints_is_nobody() -> None:
    assert FURNITURE.is_nobody
    assert not replace(FURNITURE, coverage=0.1).is_nobody
    assert replace(FURNITURE, coverage=0.1, presence=0.5).is_nobody
    assert not replace(FURNITURE, cells=4).is_nobody


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
