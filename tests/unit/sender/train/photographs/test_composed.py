"""Composed frames and the boxes of the people pasted into them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.arrays import FloatArray, Image
from common.synthetic.dataset import Split
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.scene import CROP_FIELDS
from sender.perception.detect import Detection, Detector, NanoDetConfig
from sender.train.photographs import composed
from sender.train.photographs.composed import Frame, FrameComposer, cut_out, judged_frame, paste, proposal_scores
from sender.train.photographs.dataset import Photograph
from sender.train.verifier import verdicts


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
