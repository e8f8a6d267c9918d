from dataclasses import replace

import numpy as np
import pytest

from common.arrays import Box
from sender.perception.inference.detector import Detection
from sender.perception.tracking.boxes import confirms
from sender.perception.tracking.doubt import Doubt, Evidence

PERSON: Box = np.array([100, 60, 140, 180], np.float32)
ELSEWHERE = Detection(np.array([250, 60, 290, 180], np.float32), 0.8)
CLEAR = Evidence(PERSON, presence=0.98, places=10, coverage=0.05, inside=1.0, side_px=120.0, fill=0.4)
FURNITURE = replace(CLEAR, presence=0.85, places=0, coverage=0.4)


def grown(share: float) -> Evidence:
    """Evidence of a box that has grown around the person's by a share of its size, without located keypoints."""
    centre, half = (PERSON[:2] + PERSON[2:]) / 2, (PERSON[2:] - PERSON[:2]) / 2 * (1 + share)
    box = np.concatenate([centre - half, centre + half]).astype(np.float32)
    return replace(CLEAR, box=box, places=0, presence=0.85, coverage=CLEAR.coverage * (1 + share) ** 2)


def test_clear_person_is_not_doubted() -> None:
    doubt = Doubt()
    for _ in range(30):
        doubt.compare(PERSON, [ELSEWHERE])
        doubt.observe(CLEAR)
        assert not doubt.search_due
        assert not doubt.is_given_up


def test_large_box_without_keypoints_is_nobody() -> None:
    assert FURNITURE.is_nobody
    assert not replace(FURNITURE, coverage=0.1).is_nobody
    assert replace(FURNITURE, coverage=0.1, presence=0.5).is_nobody
    assert not replace(FURNITURE, places=4).is_nobody


@pytest.mark.parametrize("evidence", [replace(CLEAR, inside=0.1), replace(CLEAR, side_px=4.0)])
def test_box_outside_the_frame_is_nobody(evidence: Evidence) -> None:
    doubt = Doubt()
    doubt.observe(evidence)
    assert evidence.is_nobody
    assert doubt.is_given_up


def test_growing_box_is_given_up() -> None:
    doubt = Doubt()
    doubt.observe(CLEAR)
    frames = 0
    while not doubt.is_given_up:
        frames += 1
        doubt.observe(grown(0.25 * frames))
        assert doubt.search_due
    assert frames <= 5


def test_person_who_comes_closer_quickly_is_kept() -> None:
    doubt = Doubt()
    for frame in range(20):
        doubt.observe(replace(grown(0.15 * frame), places=9, presence=0.95))
        assert not doubt.is_given_up


def test_person_who_turns_away_on_the_spot_is_kept() -> None:
    doubt = Doubt()
    doubt.observe(CLEAR)
    for _ in range(15):
        doubt.observe(replace(FURNITURE, box=PERSON))
        doubt.compare(PERSON, [Detection(PERSON, 0.4)])
        assert not doubt.is_given_up


def test_box_that_never_showed_keypoints_is_given_up() -> None:
    doubt = Doubt()
    for _ in range(2):
        doubt.compare(PERSON, [Detection(PERSON, 0.4)])
        doubt.observe(FURNITURE)
    assert doubt.is_given_up


def test_box_that_fresh_detections_contradict_is_given_up() -> None:
    doubt = Doubt()
    unclear = replace(CLEAR, places=3, presence=0.9)
    for given_up in (False, False, True):
        doubt.compare(PERSON, [ELSEWHERE])
        doubt.observe(unclear)
        assert doubt.search_due
        assert doubt.is_given_up == given_up
    doubt.compare(PERSON, [ELSEWHERE, Detection(PERSON, 0.3)])
    assert not doubt.is_given_up


def test_improbable_box_is_given_up_at_the_first_contradiction() -> None:
    doubt = Doubt()
    doubt.observe(replace(CLEAR, places=3, presence=0.5))
    assert doubt.search_due
    assert not doubt.is_given_up
    doubt.compare(PERSON, [ELSEWHERE])
    assert doubt.is_given_up


@pytest.mark.parametrize(
    "changed",
    [
        replace(CLEAR, presence=0.7),
        replace(CLEAR, fill=0.1),
        replace(CLEAR, places=3, box=np.array([100, 60, 200, 260], np.float32)),
        replace(CLEAR, places=3, box=np.array([100, 60, 150, 160], np.float32)),
    ],
    ids=["presence", "mask", "area", "aspect"],
)
def test_doubtful_frame_makes_the_detector_search(changed: Evidence) -> None:
    doubt = Doubt()
    doubt.observe(replace(CLEAR, places=3))
    assert not doubt.search_due
    doubt.observe(changed)
    assert doubt.search_due


def test_detection_confirms_by_overlap_or_containment() -> None:
    legs = np.array([100, 140, 140, 180], np.float32)
    assert confirms(PERSON, PERSON + 5)
    assert confirms(legs, PERSON)
    assert confirms(PERSON, legs)
    assert not confirms(np.array([110, 80, 118, 100], np.float32), PERSON)
    assert not confirms(ELSEWHERE.box, PERSON)
