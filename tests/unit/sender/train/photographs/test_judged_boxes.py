"""Judgements of proposed boxes correct the annotations of photographs, and say where nobody is."""

from collections import Counter

import numpy as np
import pytest

from sender.train.photographs import composed
from sender.train.photographs.composed import Frame, judged_frame
from sender.train.photographs.dataset import Photograph
from sender.train.verifier import verdicts

ANNOTATED = [[10, 10, 50, 90]]
# A person, a statue and a group of the judged photograph, in pixels.
PERSON, STATUE, GROUP = [20, 10, 60, 90], [120, 20, 160, 80], [100, 0, 200, 100]
NO_BOXES = np.zeros((0, 4), np.float32)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    judge(monkeypatch, person=PERSON, likeness=STATUE, several=GROUP)


def judge(monkeypatch: pytest.MonkeyPatch, **shown: list[int]) -> None:
    """Judges a box of the photograph for each kind of what is shown."""
    sides = (200, 100, 200, 100)
    boxes = {kind: [[at / side for at, side in zip(box, sides, strict=True)]] for kind, box in shown.items()}
    monkeypatch.setattr(composed, "judged_boxes", lambda: {"one": boxes})


def frame(name: str) -> Frame:
    """Of a photograph of 200 × 100 pixels with one annotated person."""
    image, keypoints = np.zeros((100, 200, 3), np.uint8), np.ones((1, 17, 3), np.float32)
    return judged_frame(Photograph("openimages", name, image, np.array(ANNOTATED, np.float32), NO_BOXES, keypoints))


def verdict(frame: Frame, box: list[int]) -> str:
    person, nobody = verdicts(np.array([box], np.float32), frame)
    assert not (person & nobody).any()
    return "person" if person else "nobody" if nobody else "unknown"


def test_judgements_take_the_place_of_annotations(judged: None) -> None:
    assert np.allclose(frame("one").boxes, [PERSON])
    assert frame("other").boxes.tolist() == ANNOTATED


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (PERSON, "person"),
        ([22, 10, 62, 90], "person"),
        (STATUE, "nobody"),
        (GROUP, "unknown"),
        # Nobody has seen what is there.
        ([60, 10, 100, 90], "unknown"),
        ([35, 10, 75, 90], "unknown"),
    ],
)
def test_a_proposal_is_what_the_judged_box_in_its_place_is(judged: None, box: list[int], expected: str) -> None:
    assert verdict(frame("one"), box) == expected


@pytest.mark.parametrize(
    ("box", "expected"), [(ANNOTATED[0], "person"), ([60, 10, 100, 90], "nobody"), ([28, 10, 68, 90], "unknown")]
)
def test_without_judgements_nobody_is_outside_of_the_annotated_boxes(
    judged: None, box: list[int], expected: str
) -> None:
    assert verdict(frame("other"), box) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # Half of the pillar.
        ([140, 10, 180, 90], "nobody"),
        # Less of it.
        ([155, 10, 195, 90], "unknown"),
        # Most of the pillar, and somebody beside it.
        ([112, 10, 152, 90], "unknown"),
    ],
)
def test_a_box_that_lies_otherwise_is_nobodys_if_it_is_far_from_everybody(
    monkeypatch: pytest.MonkeyPatch, box: list[int], expected: str
) -> None:
    judge(monkeypatch, person=[90, 10, 125, 90], nobody=[125, 10, 165, 90])
    assert verdict(frame("one"), box) == expected


def test_shipped_judgements_are_boxes_of_both_sources() -> None:
    shipped = composed.judged_boxes()
    sources = Counter(name.endswith(".jpg") for name in shipped)
    assert min(sources[False], sources[True]) >= 90
    boxes = np.array([box for judged in shipped.values() for each in judged.values() for box in each])
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes.min() > -1 and boxes.max() < 2
