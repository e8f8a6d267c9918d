"""Photographs to train on: conversion, keypoints by networks, crops, and what the verifier learns of them."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from common.arrays import Box, FloatArray, Image
from common.errors import SourceError, UsageError
from sender.perception.crop import CropBox
from sender.perception.detect import Detection, Detector, NanoDetConfig
from sender.perception.read import Verifier
from sender.train import verifier
from sender.train.crops import PhotographCropSampler, crops_in_boxes, crops_of, people_of
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
from sender.train.quantisation import proposal_scores
from sender.train.verifier import as_judged, verdicts
from tests.support.pictures.photograph_sources import write_photographs

NO_BOXES = np.zeros((0, 4), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of 39 photographs."""
    assert convert(write_photographs(tmp_path), tmp_path / "out") == 39
    return tmp_path / "out"


def boxes(*corners: tuple[float, float, float, float]) -> FloatArray:
    return np.array(corners, np.float32).reshape(-1, 4)


def photograph(name: str, size: tuple[int, int], people: FloatArray, crowds: FloatArray = NO_BOXES) -> Photograph:
    image, keypoints = np.zeros((*size, 3), np.uint8), np.zeros((len(people), 17, 3), np.float32)
    return Photograph("people", name, image, people, crowds, keypoints)


def test_photographs_are_read_back_as_they_were(folder: Path) -> None:
    train, val = (PhotographDataset(folder, split) for split in ("train", "val"))
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
    half = scaled(item, 64)
    assert half.image.shape == (48, 64, 3)
    assert half.boxes == pytest.approx(item.boxes / 2)
    assert half.keypoints[..., :2] == pytest.approx(item.keypoints[..., :2] / 2)
    assert np.array_equal(half.keypoints[..., 2], item.keypoints[..., 2])
    assert scaled(item, 128) is item


def test_validation_split_depends_on_the_name_only() -> None:
    names = [f"{number:012}.jpg" for number in range(604)]
    assert len(held_out(names)) == 100
    assert held_out(names) == held_out(names[::-1])


def test_wide_boxes_and_those_around_others_are_crowds() -> None:
    found = boxes((0, 0, 1, 0.5), (0, 0, 0.5, 0.9), (0, 0.1, 0.2, 0.8), (0.2, 0.1, 0.4, 0.8))
    assert is_crowd(found).tolist() == [True, True, False, False]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no photographs in"):
        PhotographDataset(tmp_path, "train")
    with pytest.raises(SourceError, match="cannot read the annotations"):
        convert({"people": tmp_path}, tmp_path / "out")


FREE, SHARED, IN_CROWD, TINY = [10, 10, 50, 90], [100, 100, 140, 190], [160, 10, 190, 60], [60, 10, 70, 22]
# Perception as it is pretended to be.
PERCEPTION: Any = None


def pretend(monkeypatch: pytest.MonkeyPatch, presence: float) -> None:
    """A detector that proposes four places, a verifier that says `presence` of each, and perception.

    Everybody's keypoints are in the middle of the crop: the first six certain, the sixth outside.
    """
    found = [SimpleNamespace(box=np.array(box, np.float32), score=0.3) for box in (FREE, SHARED, IN_CROWD, TINY)]
    verified = SimpleNamespace(presence=lambda output, scores: np.full(len(scores), presence))

    def seen(_: Any, image: Image, boxes: list[Box], *, thorough: bool = False) -> SimpleNamespace:
        crops, places = [CropBox.around(box) for box in boxes], torch.full((len(boxes), 17, 2), 0.5)
        places[:, 5] = 9.0
        sigma = torch.full((len(crops), 17), 0.1)
        sigma[:, :6] = 0.02
        return SimpleNamespace(crops=crops, output=SimpleNamespace(keypoints_2d=places, keypoints_sigma=sigma))

    monkeypatch.setattr(Detector, "load", lambda: SimpleNamespace(find=lambda image: found))
    monkeypatch.setattr(Verifier, "load", lambda: verified)
    monkeypatch.setattr(pseudo_keypoints, "predict_in_boxes", seen)


@pytest.mark.parametrize(("presence", "expected"), [(0.1, [FREE]), (0.6, [])])
def test_nobody_is_where_no_box_is_and_the_verifier_is_certain(
    monkeypatch: pytest.MonkeyPatch, presence: float, expected: list[list[int]]
) -> None:
    pretend(monkeypatch, presence)
    item = photograph("one", (200, 200), boxes((110, 105, 150, 200)), boxes((150, 0, 200, 80)))
    assert pseudo_keypoints.FalseProposals(PERCEPTION).of(item).tolist() == expected


def test_training_people_with_boxes_only_get_certain_keypoints(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0.1)
    out = tmp_path / "pseudo"
    pseudo_keypoints.convert(folder, out, PERCEPTION)
    before, after = (PhotographDataset(path, "train") for path in (folder, out))
    item = after[after.indices("openimages")[0]]
    centre = (item.boxes[0, :2] + item.boxes[0, 2:]) / 2
    assert np.abs(item.keypoints[0, :5, :2] - centre).max() <= 1
    assert item.keypoints[0, :, 2].tolist() == 5 * [PSEUDO] + 12 * [0]
    assert [len(people_of(each, source="openimages")) for each in (before, after)] == [0, 11]
    # Everything else stays as it was.
    old, new = (json.loads((path / INDEX).read_text())["photographs"] for path in (folder, out))
    for entry in new:
        of_training = entry["split"] == "train"
        assert ("nobody" in entry) == (of_training and entry["source"] != "panoramas")
        entry.pop("nobody", None)
        if (entry["source"], of_training) == ("openimages", True):
            assert entry.pop("keypoints")
    assert new == old
    with pytest.raises(UsageError, match="another one"):
        pseudo_keypoints.convert(folder, folder, PERCEPTION)


def test_person_of_low_mean_certainty_gets_nothing() -> None:
    sigma = np.full(17, 0.3, np.float32)
    sigma[:5] = 0.01
    found = []
    for rest in (0.3, 0.1):
        sigma[5:] = rest
        found.append(pseudo_keypoints.certain(np.ones((17, 2), np.float32), sigma, (9, 9))[:, 2].tolist())
    assert found == [17 * [0], 5 * [PSEUDO] + 12 * [0]]


class ScriptedDetector(Detector):
    def __init__(self, found: FloatArray) -> None:
        super().__init__(NanoDetConfig(), lambda *_: pytest.fail("computed"))
        self._proposed = found

    def find(self, image: Image, roll: float = 0.0, *, thorough: bool = False) -> tuple[Detection, ...]:
        return tuple(Detection(box, 0.5) for box in self._proposed)


def test_tall_people_are_proposed_or_missed_and_those_in_crowds_are_no_others() -> None:
    people = boxes((0, 0, 50, 100), (100, 0, 150, 100), (0, 150, 20, 190))
    item = photograph("one", (200, 200), people, boxes((60, 100, 100, 140)))
    proposed = boxes((0, 0, 50, 90), (0, 0, 50, 99), (160, 150, 190, 190), (60, 100, 70, 120))
    scores = proposal_scores(ScriptedDetector(proposed), [item])
    assert (scores["people_found"], scores["people_others"]) == (0.5, 1)


ANNOTATED = (10, 10, 50, 90)
# A person, a statue and a group of the judged photograph, in pixels.
PERSON, STATUE, GROUP = (20, 10, 60, 90), (120, 20, 160, 80), (100, 0, 200, 100)
JUDGED = {"person": PERSON, "likeness": STATUE, "several": GROUP}
PILLAR = {"person": (90, 10, 125, 90), "nobody": (125, 10, 165, 90)}


@pytest.mark.parametrize(
    ("shown", "box", "expected"),
    [
        (JUDGED, PERSON, "person"),
        (JUDGED, (22, 10, 62, 90), "person"),
        (JUDGED, STATUE, "nobody"),
        (JUDGED, GROUP, "unknown"),
        # Nobody has seen what is there.
        (JUDGED, (60, 10, 100, 90), "unknown"),
        (JUDGED, (35, 10, 75, 90), "unknown"),
        # Without judgements, nobody is outside of the annotated boxes.
        (None, ANNOTATED, "person"),
        (None, (60, 10, 100, 90), "nobody"),
        (None, (28, 10, 68, 90), "unknown"),
        # Half of the pillar, less of it, and most of it with somebody beside it.
        (PILLAR, (140, 10, 180, 90), "nobody"),
        (PILLAR, (155, 10, 195, 90), "unknown"),
        (PILLAR, (112, 10, 152, 90), "unknown"),
    ],
)
def test_a_proposal_is_what_the_judged_box_in_its_place_is(
    monkeypatch: pytest.MonkeyPatch, shown: dict[str, tuple[int, ...]] | None, box: tuple[int, ...], expected: str
) -> None:
    sides = (200, 100, 200, 100)
    judged = {kind: [[at / side for at, side in zip(each, sides, strict=True)]] for kind, each in (shown or {}).items()}
    monkeypatch.setattr(verifier, "judged_boxes", lambda: {"one": judged} if shown else {})
    item, known = as_judged(photograph("one", (100, 200), boxes(ANNOTATED)))
    person, nobody = verdicts(np.array([box], np.float32), item, judged=known)
    assert not (person & nobody).any()
    assert ("person" if person else "nobody" if nobody else "unknown") == expected


def test_shipped_judgements_are_boxes_of_both_sources() -> None:
    shipped = verifier.judged_boxes()
    sources = Counter(name.endswith(".jpg") for name in shipped)
    assert min(sources[False], sources[True]) >= 90
    found = np.array([box for judged in shipped.values() for each in judged.values() for box in each])
    assert (found[:, 2:] > found[:, :2]).all()
    assert found.min() > -1 and found.max() < 2


def test_hidden_unlabelled_and_occluded_keypoints_are_not_visible() -> None:
    keypoints = np.concatenate([np.full((3, 17, 2), 0.5), np.full((3, 17, 1), 2.0)], axis=2).astype(np.float32)
    keypoints[:, 0, 2], keypoints[:, 1, 2], keypoints[:, 2, 0] = 0, 1, 1.2
    # The second has few labels, the third's are placed by networks.
    keypoints[1, 5:, 2], keypoints[2, 1:, 2] = 0, PSEUDO
    occluded = np.zeros((3, 17), np.bool_)
    occluded[:, 3] = True
    crops = crops_of(np.zeros((3, 32, 32, 3), np.uint8), keypoints, occluded)
    assert crops.labelled[0, :4].tolist() == [0, 1, 1, 1]
    assert crops.visible[0, :5].tolist() == [0, 0, 0, 0, 1]
    assert crops.judged[0, :3].tolist() == pytest.approx([0.3, 1, 1])
    assert crops.judged.sum(1)[1:].tolist() == [4, 0] and crops.labelled[2].sum() == 16


def test_crops_for_training_and_validation(folder: Path) -> None:
    crops = list(crops_in_boxes(PhotographDataset(folder, "val"), 64))
    assert sum(len(part) for part in crops) == 2
    # The annotated box is the inner 1/1.25 of the crop.
    first = crops[0].keypoints_2d[0, 1:]
    assert ((first >= 0.1) & (first <= 0.9)).all()
    document = json.loads((folder / INDEX).read_text())
    document["photographs"][0] |= {"nobody": [[0, 0, 40, 60]], "split": "train"}
    (folder / INDEX).write_text(json.dumps(document))
    batch = next(PhotographCropSampler(PhotographDataset(folder, "train"), np.random.default_rng(0), 64).batches(100))
    assert batch.image.shape == (100, 3, 64, 64)
    labelled, nobody = batch.labelled.sum(dim=1), batch.labelled.sum(dim=1) == 0
    assert 3 < nobody.sum() < 25 and (labelled[~nobody] == 16).all()
    assert bool((batch.judged[nobody] == 1).all())
    assert bool((batch.visible[nobody] == 0).all())
