"""Photographs to train on: conversion, the split, and what is read back."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.arrays import Float64Array, FloatArray, Image
from common.body.anatomy import COCO_KEYPOINTS
from common.errors import SourceError
from common.synthetic.dataset import Split
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.scene import CROP_FIELDS
from sender.perception.detect import Detection, Detector, NanoDetConfig
from sender.perception.read import Verifier
from sender.train.photographs import composed, pseudo_keypoints
from sender.train.photographs.composed import Frame, FrameComposer, cut_out, judged_frame, paste, proposal_scores
from sender.train.photographs.crops import (
    PhotographCropSampler,
    crop_transform,
    crops_in_boxes,
    crops_of,
    moved,
    occlude,
    perspective,
    warped,
)
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
from sender.train.verifier import verdicts
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


def bar_people(directory: Path, size: int, split: Split = "train") -> CropDataset:
    """A data set whose crops show a blue upright bar; all other fields of its shard are empty."""
    shard = directory / f"{split}-0000"
    shard.mkdir(parents=True)
    image, mask = np.zeros((8, size, size, 3), np.uint8), np.zeros((8, size, size), np.uint8)
    where = (slice(None), slice(size // 8, -size // 8), slice(3 * size // 8, -3 * size // 8))
    image[where], mask[where] = (0, 0, 255), 255
    for name in CROP_FIELDS:
        np.save(shard / f"{name}.npy", {"image": image, "mask": mask}.get(name, np.zeros(8)))
    return CropDataset([directory], split)


def test_frames_have_boxes_of_people_of_every_data_set(tmp_path: Path) -> None:
    datasets = [bar_people(tmp_path / "fine", 64), bar_people(tmp_path / "coarse", 32)]
    composer = FrameComposer(datasets, np.random.default_rng(5), 128, backgrounds=4)
    frames = [composer.frame() for _ in range(12)]
    boxes = np.concatenate([boxes for _, boxes in frames])
    assert len(boxes) >= 6
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 128
    corners = [(image, box.astype(int)) for image, people in frames for box in people]
    blue = [image[top:bottom, left:right].mean(axis=(0, 1)) for image, (left, top, right, bottom) in corners]
    # Shading, blur and noise change the colours, but in most boxes blue stays the strongest channel.
    assert np.mean([colour.argmax() == 2 for colour in blue]) > 0.6
    again = FrameComposer(datasets, np.random.default_rng(5), 128, backgrounds=4).frame()[0]
    assert np.array_equal(again, frames[0][0]), "the same seed gives the same frame"


def test_cut_out_is_the_box_of_the_mask_with_its_truncated_sides() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=np.uint8)
    assert cut_out(image, mask) is None
    mask[30:64, 20:40] = 255
    cut = cut_out(image, mask)
    assert cut is not None and cut.alpha.shape == (34, 20)
    assert np.array_equal(cut.colour, image[30:, 20:40].astype(np.float32))
    assert cut.truncated.tolist() == [False, False, False, True]


def test_paste_marks_the_owner_and_clips_at_the_border() -> None:
    image, owner = np.zeros((32, 32, 3), np.float32), np.full((32, 32), -1, np.int16)
    colour, alpha = np.full((10, 8, 3), 200.0, np.float32), np.ones((10, 8), np.float32)
    outside = image.copy()
    paste(outside, owner, 0, colour, alpha, 80, 0)
    assert outside.sum() == 0 and (owner == -1).all()
    pixels = paste(image, owner, 3, colour, alpha, 28, -4)
    assert pixels == 80
    assert (owner == 3).sum() == 6 * 4
    assert (image[:6, 28:] == 200).all() and image[6:].sum() == 0


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


def extent_of_red(image: np.ndarray) -> list[float]:
    red = (image[..., 0].astype(int) - image[..., 2]) > 128
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_reduced_picture_keeps_its_place() -> None:
    picture = np.full((400, 400, 3), 60, np.uint8)
    picture[100:300, 200:360] = (255, 0, 0)
    matrix: Float64Array = np.array([[0.25, 0, 10], [0, 0.25, 20]])
    assert extent_of_red(warped(picture, matrix, 128)) == pytest.approx([60, 45, 100, 95], abs=1)


def test_perspective_looks_where_the_camera_is_turned() -> None:
    panorama = np.zeros((64, 128, 3), np.uint8)
    panorama[30:34, 94:98] = 255  # On the horizon, a quarter turn to the right.
    view = perspective(panorama, np.pi / 2, 0.0, 0.0, 1.0, 33)
    assert view[16, 16].min() > 128
    assert view[2:8].max() == 0
    upwards = perspective(panorama, np.pi / 2, 0.3, 0.0, 1.0, 33)
    assert np.flatnonzero(upwards[..., 0].max(axis=1)).min() > 20


LEFT_WRIST, RIGHT_WRIST = (COCO_KEYPOINTS.index(f"{side}_wrist") for side in ("left", "right"))


def dotted_picture() -> tuple[np.ndarray, np.ndarray]:
    """A picture with a red dot at the left and a blue one at the right wrist, and keypoints (17, 3)."""
    keypoints = np.concatenate([np.random.default_rng(0).uniform(60, 140, (17, 2)), np.full((17, 1), 2.0)], axis=1)
    keypoints[LEFT_WRIST, :2], keypoints[RIGHT_WRIST, :2] = (80.5, 90.5), (120.5, 100.5)
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[88:93, 78:83], picture[98:103, 118:123] = (255, 0, 0), (0, 0, 255)
    return picture, keypoints.astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_keypoints_move_with_the_pixels_and_mirroring_exchanges_sides(seed: int) -> None:
    picture, keypoints = dotted_picture()
    box = np.array([50, 50, 150, 150], np.float32)
    matrix, mirrored = crop_transform(np.random.default_rng(seed), box, keypoints, 128)
    image = warped(picture, matrix, 128, border=0)
    places = moved(keypoints, matrix, mirrored, 128)
    wrists = (RIGHT_WRIST, LEFT_WRIST) if mirrored else (LEFT_WRIST, RIGHT_WRIST)
    for channel, joint in zip((0, 2), wrists, strict=True):
        lit = np.argwhere(image[..., channel] > 100)
        x, y = places[joint, :2] * 128
        if 4 < x < 124 and 4 < y < 124:
            assert lit.mean(axis=0) + 0.5 == pytest.approx([y, x], abs=0.8)
    assert mirrored == (np.linalg.det(matrix[:, :2]) < 0)


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


@pytest.mark.parametrize("piece", [None, np.zeros((7, 5, 3), np.uint8)], ids=["one colour", "a piece of a picture"])
def test_occlusion_covers_the_keypoints_that_it_names(piece: np.ndarray | None) -> None:
    _, keypoints = dotted_picture()
    keypoints[:, :2] /= 200
    image = np.full((200, 200, 3), 300.0, np.float32)
    occluded = occlude(np.random.default_rng(1), image, keypoints, piece)
    assert 0 < occluded.sum() < len(occluded)
    for place, covered in zip(keypoints, occluded, strict=True):
        assert (image[int(place[1] * 200), int(place[0] * 200), 0] < 300) == covered


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
