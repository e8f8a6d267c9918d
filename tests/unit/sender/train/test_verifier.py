"""Examples and scores of the verifier."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from common.synthetic.dataset import SPLITS
from sender.perception.read import EVIDENCE
from sender.train import verifier
from sender.train.photographs.composed import Frame
from sender.train.photographs.dataset import SOURCES, PhotographDataset, convert
from sender.train.verifier import Examples, area_under_curve, unstretched
from tests.support.pictures.photograph_sources import write_photographs


def examples(count: int, seed: int) -> Examples:
    """Positive examples with sharp first keypoints and a surer second opinion; the detector's scores are random."""
    generator = torch.Generator().manual_seed(seed)
    person = (torch.rand(count, generator=generator) < 0.4).float()
    evidence = torch.randn(count, EVIDENCE, generator=generator)
    evidence[:, 17:34] -= 0.8 * person[:, None]
    return Examples(
        evidence,
        person,
        torch.rand(count, generator=generator),
        2 * person + torch.randn(count, generator=generator),
        torch.full((count,), 100),
    )


def test_area_under_the_curve() -> None:
    person = torch.tensor([False, False, True, True])
    assert area_under_curve(torch.tensor([0.1, 0.2, 0.3, 0.4]), person) == 1.0
    assert area_under_curve(torch.tensor([0.4, 0.3, 0.2, 0.1]), person) == 0.0
    assert area_under_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), person) == 0.75
    assert torch.isnan(torch.tensor(area_under_curve(torch.ones(2), torch.tensor([True, True]))))


def test_unstretched_photograph_keeps_its_people_in_their_boxes() -> None:
    image = np.full((96, 96, 3), 40, np.uint8)
    image[20:80, 30:50] = 220
    boxes = np.array([[30, 20, 50, 80]], np.float32)
    frame = unstretched(Frame(image, boxes, nobody=boxes))
    assert frame.image.shape == (83, 111, 3)
    left, top, right, bottom = frame.boxes[0].round().astype(int)
    inside = frame.image[top + 2 : bottom - 2, left + 2 : right - 2]
    outside = np.delete(frame.image, slice(left - 2, right + 2), axis=1)
    assert inside.min() > 200 and outside.max() < 60
    assert frame.nobody is not None and np.array_equal(frame.boxes, frame.nobody)


def test_photographs_are_those_that_are_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    monkeypatch.setattr(verifier, "composed_frames", lambda *_: pytest.fail)
    monkeypatch.setattr(verifier, "judged_frame", lambda item: item.name)
    monkeypatch.setattr(verifier, "unstretched", lambda name: name)
    options = argparse.Namespace(data=[], seed=0, photographs=tmp_path / "out")
    learned, validated = ([*verifier.frames_of(options, split, 0)] for split in SPLITS[:2])
    held_back = PhotographDataset(tmp_path / "out", "val")
    names = {source: [held_back[index].name for index in held_back.indices(source)] for source in SOURCES[:2]}
    assert sorted(map(str, learned)) == sorted(names["openimages"])
    assert [*map(str, validated)] == names["people"] != []
