"""Examples and scores of the verifier."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from common.synthetic.dataset.split import SPLITS
from sender.perception.inference.verifier import EVIDENCE
from sender.train import verifier
from sender.train.photographs import Photograph, PhotographDataset, convert
from sender.train.verifier import Examples, area_under_curve, mirrored_boxes, photograph_frames, varied
from tests.support.photograph_sources import write_photographs


def examples(count: int, seed: int) -> Examples:
    """Positive examples with sharp first keypoints; the detector's scores are random."""
    generator = torch.Generator().manual_seed(seed)
    person = (torch.rand(count, generator=generator) < 0.4).float()
    evidence = torch.randn(count, EVIDENCE, generator=generator)
    evidence[:, 17:34] -= 1.5 * person[:, None]
    return Examples(evidence, person, torch.rand(count, generator=generator), frames=100)


def test_area_under_the_curve() -> None:
    person = torch.tensor([False, False, True, True])
    assert area_under_curve(torch.tensor([0.1, 0.2, 0.3, 0.4]), person) == 1.0
    assert area_under_curve(torch.tensor([0.4, 0.3, 0.2, 0.1]), person) == 0.0
    assert area_under_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), person) == 0.75
    assert torch.isnan(torch.tensor(area_under_curve(torch.ones(2), torch.tensor([True, True]))))


def photograph() -> Photograph:
    """A grey picture with one bright person."""
    image = np.full((96, 96, 3), 40, np.uint8)
    image[20:80, 30:50] = 220
    boxes = np.array([[30, 20, 50, 80]], np.float32)
    return Photograph("openimages", "one", image, boxes, boxes[:0], np.zeros((1, 17, 3), np.float32))


def test_boxes_stay_on_their_people() -> None:
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(20):
        frame = varied(photograph(), rng)
        shapes.add(frame.image.shape)
        left, top, right, bottom = frame.boxes[0].round().astype(int)
        inside = frame.image[top + 2 : bottom - 2, left + 2 : right - 2]
        outside = np.delete(frame.image, slice(left - 2, right + 2), axis=1)
        assert inside.min() > 200 and outside.max() < 60
    assert len(shapes) > 10
    assert {height > width for height, width, _ in shapes} == {True, False}


def test_mirrored_boxes_are_their_own_inverse() -> None:
    boxes = np.array([[1, 2, 30, 40], [50, 0, 64, 10]], np.float32)
    assert mirrored_boxes(boxes, 64).tolist() == [[34, 2, 63, 40], [0, 0, 14, 10]]
    assert np.array_equal(mirrored_boxes(mirrored_boxes(boxes, 64), 64), boxes)


def test_photographs_are_those_that_are_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out", 640)
    monkeypatch.setattr(verifier, "composed_frames", lambda *_: pytest.fail)
    monkeypatch.setattr(verifier, "varied", lambda item, _rng: item.name)
    options = argparse.Namespace(data=[], size=64, seed=0, photographs=tmp_path / "out")
    learned, validated = ([*verifier.frames_of(options, split, 0)] for split in SPLITS[:2])
    names: set[object] = {*learned}
    others: set[object] = {frame for frame in validated if isinstance(frame, str)}
    held_back = PhotographDataset(tmp_path / "out", "val")
    assert len(learned) == 2 * len(names) > 0
    assert names.isdisjoint(others)
    assert names | others == {held_back[index].name for index in held_back.indices("openimages")}


def test_each_photograph_of_a_source_is_used_once(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out", 640)
    photographs = PhotographDataset(tmp_path / "out", "train")
    frames = list(photograph_frames(photographs, "openimages", np.random.default_rng(0)))
    assert len(frames) == len(photographs.indices("openimages")) > 0
    people = list(photograph_frames(photographs, "people", np.random.default_rng(0)))
    assert np.array_equal(people[0].image, photographs[photographs.indices("people")[0]].image)
