"""Photographs to train on: conversion, the split, and what is read back."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.arrays import FloatArray, Image
from common.errors import SourceError
from sender.perception.detect import Detection, Detector, NanoDetConfig
from sender.perception.read import Verifier
from sender.train import verifier
from sender.train.crops import PhotographCropSampler, crops_in_boxes, crops_of
from sender.train.photographs import pseudo_keypoints
from sender.train.photographs.dataset import (
    INDEX,
    PSEUDO,
    Photograph,
    PhotographDataset,
    convert,
    held_out,
    is_crowd,
    scaled,
)
from sender.train.photographs.pseudo_keypoints import FalseProposals
from sender.train.quantisation import proposal_scores
from sender.train.verifier import as_judged, verdicts
from tests.support.pictures.photograph_sources import write_photographs


def test_photographs_are_read_back_as_they_were(tmp_path: Path) -> None:
    assert convert(write_photographs(tmp_path), tmp_path / "out") == 39
    train, val = (PhotographDataset(tmp_path / "out", split) for split in ("train", "val"))
    assert [len(part.indices("people")) for part in (train, val)] == [11, 2]
    assert [len(part.indices("panoramas")) for part in (train, val)] == [11, 2]
    item = train[train.indices("people")[0]]
    left, top, right, bottom = item.boxes[0].astype(int)
    assert (right - left, bottom - top) == (32, 64)
    assert (item.image[top:bottom, left:right] == (255, 0, 0)).all()
    assert item.keypoints[0, 3].tolist() == [left + 3, top + 9, 2]
    assert item.keypoints[0, 0, 2] == 0
    stretched = train[train.indices("openimages")[0]]
    assert stretched.image.shape == (96, 96, 3)
    assert stretched.boxes[0, 2:] - stretched.boxes[0, :2] == pytest.approx([24, 64], abs=0.2)


def test_validation_split_depends_on_the_name_only() -> None:
    names = [f"{number:012}.jpg" for number in range(604)]
    assert len(held_out(names)) == 100
    assert held_out(names) == held_out(names[::-1])


def test_large_photograph_is_scaled_with_its_annotations(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path, 2), tmp_path / "out")
    item = PhotographDataset(tmp_path / "out", "train")[0]
    half = scaled(item, 64)
    assert half.image.shape == (48, 64, 3)
    assert half.boxes == pytest.approx(item.boxes / 2)
    assert half.keypoints[..., :2] == pytest.approx(item.keypoints[..., :2] / 2)
    assert np.array_equal(half.keypoints[..., 2], item.keypoints[..., 2])
    assert scaled(item, 128) is item


def test_wide_boxes_and_those_around_others_are_crowds() -> None:
    boxes = np.array([[0, 0, 1, 0.5], [0, 0, 0.5, 0.9], [0, 0.1, 0.2, 0.8], [0.2, 0.1, 0.4, 0.8]], np.float32)
    assert is_crowd(boxes).tolist() == [True, True, False, False]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no photographs in"):
        PhotographDataset(tmp_path, "train")
    with pytest.raises(SourceError, match="cannot read the annotations"):
        convert({"people": tmp_path}, tmp_path / "out")


FREE, SHARED, IN_CROWD, TINY = [10, 10, 50, 90], [100, 100, 140, 190], [160, 10, 190, 60], [60, 10, 70, 22]
PERCEPTION: Any = None


def pretend(monkeypatch: pytest.MonkeyPatch, presence: float) -> None:
    """A detector that proposes four places, and a verifier that says `presence` of each."""
    boxes = [np.array(box, np.float32) for box in (FREE, SHARED, IN_CROWD, TINY)]
    detector = SimpleNamespace(find=lambda image: [SimpleNamespace(box=box, score=0.3) for box in boxes])
    verifier = SimpleNamespace(presence=lambda output, scores: np.full(len(scores), presence))
    monkeypatch.setattr(Detector, "load", lambda: detector)
    monkeypatch.setattr(Verifier, "load", lambda: verifier)
    monkeypatch.setattr(pseudo_keypoints, "predict_in_boxes", lambda *_: SimpleNamespace(output=None))


def photograph() -> Photograph:
    person, crowd = np.array([[110, 105, 150, 200]], np.float32), np.array([[150, 0, 200, 80]], np.float32)
    return Photograph(
        "people", "one", np.zeros((200, 200, 3), np.uint8), person, crowd, np.zeros((1, 17, 3), np.float32)
    )


def found(monkeypatch: pytest.MonkeyPatch, presence: float) -> FloatArray:
    pretend(monkeypatch, presence)
    return FalseProposals(PERCEPTION).of(photograph())


def test_places_outside_of_annotated_boxes_and_crowds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, 0.1).tolist() == [FREE]


def test_somebody_who_lacks_an_annotation_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, 0.6).shape == (0, 4)


def boxes(*corners: tuple[float, float, float, float]) -> FloatArray:
    return np.array(corners, np.float32).reshape(-1, 4)


class ScriptedDetector(Detector):
    def __init__(self, found: FloatArray) -> None:
        super().__init__(NanoDetConfig(), lambda *_: pytest.fail("computed"))
        self._proposed = found

    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        return tuple(Detection(box, 0.5) for box in self._proposed)


def scores_of(people: FloatArray, crowds: FloatArray, found: FloatArray) -> dict[str, float]:
    picture = np.zeros((200, 200, 3), np.uint8)
    item = Photograph("people", "one", picture, people, crowds, np.zeros((len(people), 17, 3), np.float32))
    return proposal_scores(ScriptedDetector(found), [item])


def test_tall_people_are_proposed_or_missed_and_small_ones_not_asked_for() -> None:
    people = boxes((0, 0, 50, 100), (100, 0, 150, 100), (0, 150, 20, 190))
    scores = scores_of(people, boxes(), boxes((0, 0, 50, 90), (0, 0, 50, 99), (160, 150, 190, 190)))
    assert scores["people_found"] == 0.5
    assert scores["people_others"] == 1


def test_proposal_in_a_crowd_is_no_other() -> None:
    scores = scores_of(boxes(), boxes((0, 0, 40, 40)), boxes((0, 0, 10, 20), (50, 0, 60, 20)))
    assert scores["people_others"] == 1


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
    monkeypatch.setattr(verifier, "judged_boxes", lambda: {"one": boxes})


def frame(name: str) -> tuple[Photograph, bool]:
    """Of a photograph of 200 × 100 pixels with one annotated person."""
    image, keypoints = np.zeros((100, 200, 3), np.uint8), np.ones((1, 17, 3), np.float32)
    return as_judged(Photograph("openimages", name, image, np.array(ANNOTATED, np.float32), NO_BOXES, keypoints))


def verdict(name: str, box: list[int]) -> str:
    item, judged = frame(name)
    person, nobody = verdicts(np.array([box], np.float32), item, judged=judged)
    assert not (person & nobody).any()
    return "person" if person else "nobody" if nobody else "unknown"


def test_judgements_take_the_place_of_annotations(judged: None) -> None:
    assert np.allclose(frame("one")[0].boxes, [PERSON])
    assert frame("other")[0].boxes.tolist() == ANNOTATED


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
    assert verdict("one", box) == expected


@pytest.mark.parametrize(
    ("box", "expected"), [(ANNOTATED[0], "person"), ([60, 10, 100, 90], "nobody"), ([28, 10, 68, 90], "unknown")]
)
def test_without_judgements_nobody_is_outside_of_the_annotated_boxes(
    judged: None, box: list[int], expected: str
) -> None:
    assert verdict("other", box) == expected


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
    assert verdict("one", box) == expected


def test_shipped_judgements_are_boxes_of_both_sources() -> None:
    shipped = verifier.judged_boxes()
    sources = Counter(name.endswith(".jpg") for name in shipped)
    assert min(sources[False], sources[True]) >= 90
    boxes = np.array([box for judged in shipped.values() for each in judged.values() for box in each])
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes.min() > -1 and boxes.max() < 2


def test_hidden_unlabelled_and_occluded_keypoints_are_not_visible() -> None:
    keypoints = np.concatenate([np.full((1, 17, 2), 0.5), np.full((1, 17, 1), 2.0)], axis=2).astype(np.float32)
    keypoints[0, 0, 2], keypoints[0, 1, 2], keypoints[0, 2, 0] = 0, 1, 1.2
    occluded = np.zeros((1, 17), np.bool_)
    occluded[0, 3] = True
    crops = crops_of(np.zeros((1, 32, 32, 3), np.uint8), keypoints, occluded)
    assert crops.labelled[0, :4].tolist() == [0, 1, 1, 1]
    assert crops.visible[0, :5].tolist() == [0, 0, 0, 0, 1]
    assert crops.judged[0, :3].tolist() == pytest.approx([0.3, 1, 1])
    few = keypoints.copy()
    few[0, 5:, 2] = 0
    assert crops_of(np.zeros((1, 32, 32, 3), np.uint8), few, occluded).judged.sum() == 4
    pseudo = keypoints.copy()
    pseudo[0, 1:, 2] = PSEUDO
    crops = crops_of(np.zeros((1, 32, 32, 3), np.uint8), pseudo, occluded)
    assert [crops.labelled.sum().item(), crops.judged.sum().item()] == [16, 0]


def test_sampler_and_validation_crops(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    sampler = PhotographCropSampler(PhotographDataset(tmp_path / "out", "train"), np.random.default_rng(0), 64)
    batch = next(sampler.batches(6))
    assert batch.image.shape == (6, 3, 64, 64)
    assert batch.labelled.sum() == 6 * 16
    crops = list(crops_in_boxes(PhotographDataset(tmp_path / "out", "val"), 64))
    assert sum(len(part) for part in crops) == 2
    # The annotated box is the inner 1/1.25 of the crop.
    first = crops[0].keypoints_2d[0, 1:]
    assert ((first >= 0.1) & (first <= 0.9)).all()


def test_some_crops_are_of_places_where_nobody_is(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    convert(write_photographs(tmp_path), folder)
    document = json.loads((folder / INDEX).read_text())
    document["photographs"][0]["nobody"] = [[0, 0, 40, 60]]
    document["photographs"][0]["split"] = "train"
    (folder / INDEX).write_text(json.dumps(document))
    sampler = PhotographCropSampler(PhotographDataset(folder, "train"), np.random.default_rng(0), 64)
    crops = next(sampler.batches(100))
    nobody = crops.labelled.sum(dim=1) == 0
    assert 3 < nobody.sum() < 25
    assert bool((crops.judged[nobody] == 1).all())
    assert bool((crops.visible[nobody] == 0).all())
